"""The TLS overlay's certificate: made where there is none, and checked as a client would."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import ssl
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from src.services.stack.compose_config import Stack
from src.services.stack.docker_cli import Docker
from src.services.stack.errors import StackError

SERVICE = "tls-proxy"
FILE = "tls/server.pem"
ALWAYS = ("localhost", "127.0.0.1")
_DAYS = 825  # the longest that Apple's clients accept
_FETCH_SECONDS = 900.0
_HOST_NAME = re.compile(r"[A-Za-z0-9*]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_FIRST_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
# X509_V_FLAG_PARTIAL_CHAIN: the certificate itself is trusted, whoever has signed it. Named by Python 3.10 and newer.
_PARTIAL_CHAIN = 0x80000
_FLIGHTS = 4


def prepare_certificate(docker: Docker, stack: Stack, folder: Path, say: Callable[[str], None]) -> None:
    """Where the overlay is in use, make the certificate if there is none, and report what clients need to know.

    Args:
        docker: runs ``openssl`` in the proxy's image.
        stack: the configuration, which has the service ``tls-proxy`` where the overlay is in use, with the names that
            the certificate must be valid for.
        folder: the checkout.
        say: takes each line of the report.

    Raises:
        StackError: the certificate cannot be made, or is unusable, or a name is none.
    """
    if not stack.has(SERVICE):
        return
    names = _names(stack.variable(SERVICE, "TLS_NAMES"))
    path = folder / FILE
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise StackError(f"{FILE} must be a file, not a link or a folder; put the certificate and its key there")
    made = not path.exists()
    if made:
        say(f"==> making {FILE}, a self-signed certificate, with the image of {SERVICE}")
        _write(path, _self_signed(docker, stack.image(SERVICE), [*names, *ALWAYS]))
    _let_the_proxy_read(path)
    server = _server_side(path)
    certificate = _first_certificate(path)
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest().upper()
    pairs = ":".join(digest[place : place + 2] for place in range(0, len(digest), 2))
    say(f"==> {FILE}: {'made' if made else 'found'}; SHA-256 fingerprint {pairs}")
    if made:
        say(f"    clients trust it with: curl --cacert {FILE}; for browsers and other machines see docs/tls.md")
    for name in names:
        reason = _refusal(server, certificate, name)
        if reason is not None:
            say(
                f"warning: clients refuse {FILE} for {name} ({reason}); put a certificate for TLS_HOST and TLS_NAMES "
                "there, or delete the file and run this again for a self-signed one"
            )


def _names(listed: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in listed.split(",") if name.strip()))
    for name in names:
        if not _is_address(name) and not _HOST_NAME.fullmatch(name):
            raise StackError(f"{name!r} in TLS_HOST or TLS_NAMES is neither a host name nor an address; correct .env")
    return names


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _self_signed(docker: Docker, image: str, names: Sequence[str]) -> str:
    entries = ",".join(f"{'IP' if _is_address(name) else 'DNS'}:{name}" for name in dict.fromkeys(names))
    request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", str(_DAYS)]
    request += ["-subj", "/CN=MLOps loop", "-addext", f"subjectAltName={entries}"]
    # Who trusts it trusts this server alone, and nothing that was signed with its key.
    for extension in ("basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature"):
        request += ["-addext", extension]
    request += ["-addext", "extendedKeyUsage=serverAuth", "-keyout", "-", "-out", "-"]
    container = ["run", "--rm", "--network", "none", "--cap-drop", "ALL", "--entrypoint", "openssl", image]
    answer = docker.run(*container, *request, seconds=_FETCH_SECONDS)
    if answer.code != 0 or not _FIRST_CERTIFICATE.search(answer.output):
        raise StackError(f"cannot make {FILE} with openssl in the image {image}: {answer.last_error}")
    return answer.output


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor, scratch = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            # With sudo, they belong to the owner of the checkout.
            owner = path.parent.parent.stat()
            for made in (path.parent, Path(scratch)):
                os.chown(made, owner.st_uid, owner.st_gid)
        Path(scratch).replace(path)
    except OSError as error:
        raise StackError(f"cannot write {path} ({error.strerror}); make its folder writable for this user") from error


def _let_the_proxy_read(path: Path) -> None:
    """The file for the proxy's user, who is none of this machine's; its folder for nobody but the owner."""
    try:
        path.parent.chmod(0o700)
        path.chmod(0o644)
    except OSError as error:
        raise StackError(f"cannot make {path} readable for the proxy ({error.strerror})") from error


def _server_side(path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(path, password=str)  # an empty passphrase: the proxy could not ask for one either
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise StackError(
            f"{FILE} must hold a certificate and its private key without passphrase, both as PEM; put them there, or "
            "delete the file and run this again for a self-signed one"
        ) from error
    return context


def _first_certificate(path: Path) -> str:
    found = _FIRST_CERTIFICATE.search(path.read_text(encoding="latin-1"))
    return found.group() if found else ""


def _refusal(server: ssl.SSLContext, certificate: str, name: str) -> str | None:
    """Why a client that trusts the certificate would not connect to the server by this name, or None."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(cadata=certificate)
    client.verify_flags |= _PARTIAL_CHAIN
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        client.wrap_bio(to_client, to_server, server_hostname=name.replace("*", "any", 1)),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(_FLIGHTS):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
            except ssl.SSLError as error:
                return str(error.reason)
    return None
