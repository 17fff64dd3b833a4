"""Environment settings of work on several processes or machines."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings

from src.core.settings import BASE, CommonSettings, SourceSettings

ENCRYPTED = "tls://"


class ComputeSettings(BaseSettings):
    """Where work runs: in this process, on all cores of this machine, or on the workers of a scheduler."""

    model_config = BASE

    compute_address: Annotated[str, Field(pattern=r"^(tls|tcp)://[^\s/@]+:[0-9]{1,5}$")] | None = Field(
        None, description="Dask scheduler, as tls://host:port or tcp://host:port; unset: this machine"
    )
    compute_local_rows: Annotated[int, Field(ge=0)] = Field(
        1_000_000, description="how many rows one process works on; more are shared by this machine's cores"
    )
    compute_tls_ca_file: Path | None = Field(None, description="certificate authority of scheduler, workers and client")
    compute_tls_cert_file: Path | None = Field(None, description="this client's certificate, signed by it")
    compute_tls_key_file: Path | None = Field(None, description="the key of that certificate")

    @model_validator(mode="after")
    def _encryption_needs_files(self) -> Self:
        files = (self.compute_tls_ca_file, self.compute_tls_cert_file, self.compute_tls_key_file)
        if self.is_encrypted and None in files:
            raise ValueError(
                "a COMPUTE_ADDRESS of tls:// needs COMPUTE_TLS_CA_FILE, COMPUTE_TLS_CERT_FILE and COMPUTE_TLS_KEY_FILE"
            )
        return self

    @property
    def is_encrypted(self) -> bool:
        """Whether client, scheduler and workers authenticate each other."""
        return self.compute_address is not None and self.compute_address.startswith(ENCRYPTED)


class BatchSettings(CommonSettings, SourceSettings, ComputeSettings):
    """Batch scoring (``run_batch.py``)."""
