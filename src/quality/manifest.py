"""A store's manifest: which Parquet files count, and what is already in them."""

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from src.core.durable_file import replace_durably
from src.core.errors import ConfigError

MANIFEST_FILE = "manifest.json"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StoredFile(_Frozen):
    """A Parquet file of one day.

    Attributes:
        path: below the store's folder.
        first: the earliest time of its rows.
        last: the latest time of its rows.
        rates: the sampling rates of its rows, ascending; empty for labels.
    """

    path: str
    rows: int
    bytes: int
    first: AwareDatetime
    last: AwareDatetime
    rates: list[float] = []


class Erased(_Frozen):
    """An id that must not be stored again, as its SHA-256, and when it was erased."""

    id_sha256: str
    at: AwareDatetime


class ReadFile(_Frozen):
    """A file that was read and stays where it is.

    Attributes:
        name: in the folder of label files.
        bytes: its size.
        modified_ns: when it was modified, in nanoseconds since 1970.
        sha256: of its content.
        problem: what is wrong with it, as a sentence; None if all its rows were read.
    """

    name: str
    bytes: int
    modified_ns: int
    sha256: str
    problem: str | None = None


class Manifest(_Frozen):
    """The content of a store.

    Attributes:
        files: those that count, oldest first; any other Parquet file is left over from an interrupted change.
        sources: names of files that are stored and may be deleted; some may be gone already.
        read: files that are read and not deleted, in the order of their names.
        erased: ids to leave out of later files.
    """

    format: Literal[1] = 1
    files: list[StoredFile] = []
    sources: list[str] = []
    read: list[ReadFile] = []
    erased: list[Erased] = []

    @property
    def rows(self) -> int:
        """The number of stored rows."""
        return sum(file.rows for file in self.files)

    @property
    def bytes(self) -> int:
        """The size of the stored rows."""
        return sum(file.bytes for file in self.files)

    def lowest_rate(self, since: datetime) -> float:
        """The lowest sampling rate of the files with rows from a time on; 1 if there are none."""
        return min((rate for file in self.files if file.last >= since for rate in file.rates), default=1.0)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a store; an empty one for a new store.

    Raises:
        ConfigError: it is not a manifest.
    """
    path = folder / MANIFEST_FILE
    try:
        return parse_manifest(path.read_bytes(), str(folder))
    except FileNotFoundError:
        return Manifest()


def parse_manifest(content: bytes, folder: str) -> Manifest:
    """The manifest of a store in a folder or below a prefix.

    Raises:
        ConfigError: it is not a manifest.
    """
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise ConfigError(
            f"{folder}/{MANIFEST_FILE} is damaged; restore it from a backup, or move the folder away to start an empty "
            "one"
        ) from error


def serialized(manifest: Manifest) -> bytes:
    """The content of its file."""
    return manifest.model_dump_json(indent=1).encode()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest atomically and durably.

    Raises:
        SpoolFullError: the volume is full; the manifest is unchanged.
        OSError: writing fails for another reason.
    """
    replace_durably(folder / MANIFEST_FILE, serialized(manifest))
