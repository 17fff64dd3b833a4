import datetime as dt
import errno
import ipaddress
import os
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from src.services.stack import certificate
from src.services.stack.compose_config import Stack
from src.services.stack.docker_cli import Docker
from src.services.stack.errors import StackError
from tests.unit.services.stack.fakes import FakeDocker, compose_config

TODAY = dt.datetime.now(dt.UTC)


def pem(*names: str, days: int = 30, passphrase: bytes | None = None) -> str:
    """A self-signed certificate and its key, as openssl prints them."""
    key = ec.generate_private_key(ec.SECP256R1())
    own = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    entries = [_entry(name) for name in names]
    made = (
        x509.CertificateBuilder(own, own, key.public_key(), x509.random_serial_number())
        .not_valid_before(TODAY - dt.timedelta(days=60))
        .not_valid_after(TODAY + dt.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(entries), critical=False)
        .sign(key, hashes.SHA256())
    )
    cipher = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, cipher)
    return (secret + made.public_bytes(serialization.Encoding.PEM)).decode()


def _entry(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Checkout:
    """A folder, and the fake docker whose openssl answers with ``made``."""

    def __init__(self, folder: Path, made: str) -> None:
        self.folder = folder
        self.file = folder / certificate.FILE
        self.docker = FakeDocker(folder / "bin", {})
        self.docker.answers("run --rm", made)
        self.said: list[str] = []

    def prepare(self, names: str = "localhost,") -> None:
        config: dict[str, Any] = compose_config()
        config["services"]["tls-proxy"] = {"image": "haproxy:9", "environment": {"TLS_NAMES": names}}
        docker = Docker(self.folder, self.docker.environment)
        certificate.prepare_certificate(docker, Stack(config), self.folder, self.said.append)

    def has(self, text: str, mode: int = 0o600) -> None:
        """Put a file there as a user would."""
        self.file.parent.mkdir(mode=0o755, exist_ok=True)
        self.file.write_text(text)
        self.file.chmod(mode)

    def refused(self, names: str = "localhost,") -> str:
        with pytest.raises(StackError) as caught:
            self.prepare(names)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def modes(self) -> tuple[int, int]:
        return self.file.parent.stat().st_mode & 0o777, self.file.stat().st_mode & 0o777


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path, pem("localhost", "127.0.0.1", "ml.example.com", "10.0.0.7"))


def test_without_the_overlay_nothing_is_made(checkout: Checkout) -> None:
    docker = Docker(checkout.folder, checkout.docker.environment)
    certificate.prepare_certificate(docker, Stack(compose_config(zenml=1)), checkout.folder, checkout.said.append)
    assert (checkout.said, checkout.docker.calls(), checkout.file.parent.exists()) == ([], [], False)


def test_missing_certificate_is_made_with_openssl_in_the_proxys_image_for_every_name(checkout: Checkout) -> None:
    checkout.prepare("ml.example.com, 10.0.0.7 ,")
    ((arguments, _),) = checkout.docker.calls()
    container = arguments[: arguments.index("req")]
    assert container[:4] == ["run", "--rm", "--log-driver", "none"]  # its output has the private key
    assert container[4:8] == ["--network", "none", "--cap-drop", "ALL"]
    assert container[8:] == ["--entrypoint", "openssl", "haproxy:9"]
    assert "subjectAltName=DNS:ml.example.com,IP:10.0.0.7,DNS:localhost,IP:127.0.0.1" in arguments
    assert arguments[arguments.index("-days") + 1] == "825"
    assert checkout.modes() == (0o700, 0o644)
    assert checkout.said[0].startswith("==> making tls/server.pem, a self-signed certificate")
    text = checkout.file.read_text()
    der = ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN CERT") :])
    fingerprint = x509.load_der_x509_certificate(der).fingerprint(hashes.SHA256()).hex(":").upper()
    assert checkout.said[1] == f"==> tls/server.pem: made; SHA-256 fingerprint {fingerprint}"
    assert "curl --cacert tls/server.pem" in checkout.said[2]
    assert len(checkout.said) == 3
    assert "PRIVATE" not in "".join(checkout.said)


def test_certificate_that_is_there_is_kept_and_made_readable_for_the_proxy(checkout: Checkout) -> None:
    own = pem("*.example.com")
    checkout.has(own)
    checkout.prepare("ml.example.com,any.example.com")
    assert (checkout.file.read_text(), checkout.modes(), checkout.docker.calls()) == (own, (0o700, 0o644), [])
    assert [line.partition(";")[0] for line in checkout.said] == ["==> tls/server.pem: found"]


@pytest.mark.parametrize(
    ("text", "names", "reason"),
    [
        (pem("localhost", days=-1), "localhost,", "for localhost (certificate has expired)"),
        (pem("localhost"), "localhost,ml.example.com", "for ml.example.com (Hostname mismatch"),
        (pem("localhost"), "localhost,10.0.0.8", "for 10.0.0.8 (IP address mismatch"),
    ],
)
def test_certificate_that_clients_would_refuse_is_a_warning(
    checkout: Checkout, text: str, names: str, reason: str
) -> None:
    checkout.has(text)
    checkout.prepare(names)
    (warning,) = checkout.said[1:]
    assert warning.startswith(f"warning: clients refuse tls/server.pem {reason}")
    assert "delete the file and run this again" in warning


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no certificate",
        pem("localhost").partition("-----BEGIN CERT")[0],
        pem("localhost").partition("-----END PRIVATE KEY-----\n")[2],
        pem("localhost").partition("-----BEGIN CERT")[0] + pem("a").partition("-----END PRIVATE KEY-----\n")[2],
        pem("localhost", passphrase=b"secret"),
    ],
    ids=["empty", "text", "key alone", "certificate alone", "another key", "passphrase"],
)
def test_file_that_the_proxy_could_not_use_is_refused(checkout: Checkout, text: str) -> None:
    checkout.has(text)
    assert "must hold a certificate and its private key without passphrase" in checkout.refused()
    assert checkout.file.read_text() == text


@pytest.mark.parametrize("kind", ["TRUSTED CERTIFICATE", "X509 CERTIFICATE"])
def test_certificate_in_another_form_is_refused_with_the_command_that_converts_it(
    checkout: Checkout, kind: str
) -> None:
    checkout.has(pem("localhost").replace("CERTIFICATE-----", f"{kind}-----"))
    assert checkout.refused() == (
        "the certificate in tls/server.pem must start with -----BEGIN CERTIFICATE-----; replace it with the output of: "
        "openssl x509 -in tls/server.pem"
    )


def test_file_of_another_user_is_used_where_its_modes_are_right_already(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout.has(pem("localhost"), 0o644)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "chmod", not_permitted)
        remedy = 'readable for the proxy (Operation not permitted); take it over with: sudo chown -R "$(id -u)" tls'
        assert checkout.refused().endswith(remedy)
    checkout.file.parent.chmod(0o700)
    monkeypatch.setattr(Path, "chmod", not_permitted)
    checkout.prepare()
    assert [line.partition(";")[0] for line in checkout.said] == ["==> tls/server.pem: found"]


def not_permitted(*_: object) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def test_folder_that_others_may_not_enter_is_reported(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "lstat", not_permitted)
    assert 'server.pem (Operation not permitted); take it over with: sudo chown -R "$(id -u)" tls' in checkout.refused()


def test_folder_or_link_in_the_files_place_is_refused(checkout: Checkout) -> None:
    checkout.file.mkdir(parents=True)
    assert "must be a file, not a link or a folder" in checkout.refused()
    checkout.file.rmdir()
    checkout.file.symlink_to("elsewhere.pem")
    assert "must be a file, not a link or a folder" in checkout.refused()


@pytest.mark.parametrize("name", ["two words", "-x", "a,b=c", "naïve", "https://host"])
def test_name_that_is_none_is_refused(checkout: Checkout, name: str) -> None:
    assert "in TLS_HOST or TLS_NAMES is neither a host name nor an address" in checkout.refused(name)
    assert checkout.docker.calls() == []


def test_image_without_openssl_leaves_no_file(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, "")
    assert "cannot make tls/server.pem with openssl in the image haproxy:9" in checkout.refused()
    assert not checkout.file.exists()
