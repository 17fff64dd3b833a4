"""The TLS overlay's certificate: made where there is none, and checked as a client would."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import ssl
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from src.services.stack.compose_config import TLS_PROXY, Stack
from src.services.stack.docker_cli import Docker
from src.services.stack.errors import StackError
from src.services.stack.owned_file import keep_owner, replace_file

FILE = "tls/server.pem"
ALWAYS = ("localhost", "127.0.0.1")
_DAYS = 825  # the longest that Apple's clients accept
_FETCH_SECONDS = 900.0
_HOST_NAME = re.compile(r"[A-Za-z0-9*]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
# Each form that OpenSSL reads; clients and Python take the plain one only.
_FIRST_CERTIFICATE = re.compile(r"-----BEGIN ((?:TRUSTED |X509 )?CERTIFICATE)-----.*?-----END \1-----", re.DOTALL)
# X509_V_FLAG_PARTIAL_CHAIN: the certificate itself is trusted, no matter who signed it. Named by Python 3.10 and newer.
_PARTIAL_CHAIN = 0x80000
_FLIGHTS = 4
_OWN_IT = 'take it over with: sudo chown -R "$(id -u)" tls'


def prepare_certificate(docker: Docker, stack: Stack, folder: Path, say: Callable[[str], None]) -> None:
    """Where the overlay is in use, make the certificate if there is none, and report what clients need to know.

    Args:
        docker: runs ``openssl`` in the proxy's image.
        stack: the configuration, which has the service ``tls-proxy`` where the overlay is in use, with the names that
            the certificate must be valid for.
        folder: the checkout.
        say: takes each line of the report.

    Raises:
        StackError: the certificate cannot be made or used, or a name is neither a host name nor an address.
    """
    if not stack.has(TLS_PROXY):
        return
    names = _names(stack.variable(TLS_PROXY, "TLS_NAMES"))
    path = folder / FILE
    made = not _is_there(path)
    if made:
        say(f"==> making {FILE}, a self-signed certificate, with the image of {TLS_PROXY}")
        _write(path, _self_signed(docker, stack.image(TLS_PROXY), [*names, *ALWAYS]))
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


def _is_there(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StackError(f"cannot read {path} ({error.strerror}); {_OWN_IT}") from error
    if not stat.S_ISREG(mode):
        raise StackError(f"{FILE} must be a file, not a link or a folder; put the certificate and its key there")
    return True


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
    # A client that trusts this certificate trusts only this server: the key cannot sign other certificates.
    for extension in ("basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature"):
        request += ["-addext", extension]
    request += ["-addext", "extendedKeyUsage=serverAuth", "-keyout", "-", "-out", "-"]
    # The output has the private key: no log driver may store it.
    container = ["run", "--rm", "--log-driver", "none", "--network", "none", "--cap-drop", "ALL"]
    container += ["--entrypoint", "openssl", image]
    answer = docker.run(*container, *request, seconds=_FETCH_SECONDS)
    if answer.code != 0 or not _FIRST_CERTIFICATE.search(answer.output):
        raise StackError(f"cannot make {FILE} with openssl in the image {image}: {answer.last_error}")
    return answer.output


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        keep_owner(path.parent, path.parent.parent.stat())
        replace_file(path, text.encode("ascii"))
    except OSError as error:
        raise StackError(f"cannot write {path} ({error.strerror}); make its folder writable for this user") from error


def _let_the_proxy_read(path: Path) -> None:
    """Make the file readable for everyone, as the proxy's user has no account here, and close its folder to others."""
    try:
        for place, wanted in ((path.parent, 0o700), (path, 0o644)):
            if stat.S_IMODE(place.stat().st_mode) != wanted:
                place.chmod(wanted)
    except OSError as error:
        raise StackError(f"cannot make {path} readable for the proxy ({error.strerror}); {_OWN_IT}") from error


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
    if found is None or found.group(1) != "CERTIFICATE":
        raise StackError(
            f"the certificate in {FILE} must start with -----BEGIN CERTIFICATE-----; replace it with the output of: "
            f"openssl x509 -in {FILE}"
        )
    return found.group()


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
