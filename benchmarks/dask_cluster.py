"""A Dask scheduler and its workers as processes on this machine, which authenticate each other with TLS."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from src.services.local.processes import REPOSITORY

SECONDS = 60.0
PAUSE = 0.05


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate that signs itself, so that it is its own authority; its file, and that of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "compute")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "compute.pem", folder / "compute.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


@dataclass
class Cluster:
    """A running scheduler. ``folder`` has the certificate, the logs and the workers' own files."""

    folder: Path
    address: str
    certificate: Path
    key: Path
    workers: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    scheduler: "subprocess.Popen[bytes]" = field(init=False)

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a client uses it."""
        return {
            "COMPUTE_ADDRESS": self.address,
            "COMPUTE_TLS_CA_FILE": str(self.certificate),
            "COMPUTE_TLS_CERT_FILE": str(self.certificate),
            "COMPUTE_TLS_KEY_FILE": str(self.key),
        }

    def start_worker(self, checkout: Path = REPOSITORY) -> "subprocess.Popen[bytes]":
        """Start a worker with one thread, which is not started again if it ends."""
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(self.folder)]
        worker = self.start("worker", self.address, *options, checkout=checkout)
        self.workers.append(worker)
        return worker

    def start(self, *arguments: str, checkout: Path = REPOSITORY) -> "subprocess.Popen[bytes]":
        """Start one of Dask's commands with the certificate."""
        files = [
            "--tls-ca-file",
            str(self.certificate),
            "--tls-cert",
            str(self.certificate),
            "--tls-key",
            str(self.key),
        ]
        with (self.folder / f"{arguments[0]}.log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - ours
                [sys.executable, "-m", "dask", *arguments, *files],
                cwd=checkout,
                stdout=log,
                stderr=log,
                env=dict(os.environ),
            )


@contextlib.contextmanager
def running_cluster(folder: Path, workers: int) -> Iterator[Cluster]:
    """A scheduler and so many workers, which end with the block."""
    certificate, key = write_certificate(folder)
    cluster = Cluster(folder, "", certificate, key)
    contact = folder / "scheduler.json"
    options = ["--host", "127.0.0.1", "--port", "0", "--protocol", "tls", "--no-dashboard"]
    cluster.scheduler = cluster.start("scheduler", *options, "--scheduler-file", str(contact))
    try:
        cluster.address = _address_in(contact)
        for _ in range(workers):
            cluster.start_worker()
        yield cluster
    finally:
        for process in (*cluster.workers, cluster.scheduler):
            process.kill()
            process.wait()


def _address_in(contact: Path) -> str:
    """The scheduler's address, once it has written it."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            return str(json.loads(contact.read_text(encoding="utf-8"))["address"])
        time.sleep(PAUSE)
    raise TimeoutError("the scheduler did not start; see its log")
