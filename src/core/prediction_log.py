"""The prediction log's contract: the segment files that inference writes, and which rows are sampled.

A segment is a text file of JSON lines: a header, then one line per row with the keys ``id``, ``key``, ``time``
(microseconds since 1970-01-01 UTC), ``values`` (in the order of the header's columns), ``prediction`` (a class's name
or a number) and ``probabilities`` (in the order of the header's classes, or null). While it is written its name ends
with ``.open``, and its writer holds a file lock; afterwards it is renamed and never changes. The last line of a killed
writer may be incomplete.
"""

import hashlib
import hmac
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from src.core.model_registry import checked_model_name

# Below ``CommonSettings.quality_dir``.
SEGMENTS_FOLDER = "segments"
SEGMENT_SUFFIX = ".ndjson"
OPEN_SUFFIX = ".open"
# Of a file without a lock and a header: readers lock and rename abandoned files that are named as open ones.
UNFINISHED_SEGMENT_SUFFIX = ".new"
# A request id has none.
ROW_SEPARATOR = "/"
# Longer numbers are part of an id, which may be anybody's.
MAX_ROW_DIGITS = 15
POSITIONS = 2**64
# Between the values of several id columns in a key.
KEY_SEPARATOR = "|"
HASH_DIGITS = 32


class Role(StrEnum):
    """What a model version does: it answers requests, as a canary a share of them, or rows for the log alone."""

    CHAMPION = "champion"
    CANARY = "canary"
    SHADOW = "shadow"


class LoggedColumn(BaseModel):
    """A column of the rows: its name, and its type as in ``feature_schema.ColumnType`` (``string`` where hashed)."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str


class SegmentHeader(BaseModel):
    """The first line of a segment. All its rows were predicted by one model version and sampled at one rate.

    Attributes:
        model: the registered model's name.
        version: its version.
        columns: the logged columns.
        classes: the classes' names in the order of the probabilities; empty for a regression.
        rate: the share of rows that were sampled, in (0, 1].
        started: when the segment was opened.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    model: Annotated[str, AfterValidator(checked_model_name)]
    version: str
    role: Role
    columns: list[LoggedColumn]
    classes: list[str]
    rate: float = Field(gt=0, le=1)
    started: AwareDatetime


def row_id(request_id: str, row: int) -> str:
    """The id of a request's row, counted from 0; the first row has the request's id."""
    return f"{request_id}{ROW_SEPARATOR}{row}" if row else request_id


def canonical_id(given: str) -> str:
    """The id as the log has it: ``abc/0`` is ``abc``."""
    request_id, row = _split(given)
    return given if row is None else row_id(request_id, row)


def _split(given: str) -> tuple[str, int | None]:
    """A request's id and the number of its row, None where there is none."""
    request_id, separator, row = given.rpartition(ROW_SEPARATOR)
    is_row = bool(separator) and len(row) <= MAX_ROW_DIGITS and row.isascii() and row.isdecimal()
    return (request_id, int(row)) if is_row else (given, None)


def key_of(ids: Iterable[str]) -> str:
    """A row's key, from the values of the model's id columns as text, in their order."""
    return KEY_SEPARATOR.join(ids)


def keyed_hash(key: str, text: str) -> str:
    """What the log has instead of a value, or of a row's key, that is hashed: 32 hexadecimal digits of HMAC-SHA256."""
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()[:HASH_DIGITS]


class Sampling:
    """Which rows are sampled: those whose position, a keyed hash of their id in [0, 2**64), is below the rate's share.

    A lower rate samples a subset, and whoever knows key and rate can tell whether an id was sampled. Positions of a
    request's rows are those of its id shifted by SplitMix64's finalizer of the row number (Steele, Lea & Flood 2014,
    Fast splittable pseudorandom number generators, OOPSLA), so that large batches are sampled without hashing each row.
    """

    def __init__(self, key: str = "") -> None:
        # It is copied for each id, which is faster than a new one.
        self._empty = hashlib.blake2b(digest_size=8, key=hashlib.sha256(key.encode()).digest())

    def position(self, request_id: str) -> int:
        """The position of a request's first row."""
        return int.from_bytes(self._digest(request_id), "big")

    def sampled(self, request_ids: Iterable[str], rate: float) -> list[bool]:
        """Whether the first row of each request is sampled."""
        if rate >= 1:
            return [True for _ in request_ids]
        limit = int(rate * POSITIONS).to_bytes(8, "big")  # bytes have the order of the numbers
        return [self._digest(request_id) < limit for request_id in request_ids]

    def sampled_rows(self, request_id: str, first: int, stop: int, rate: float) -> NDArray[np.intp]:
        """The numbers of the sampled rows of one request, among ``range(first, stop)``."""
        rows = np.arange(first, stop, dtype=np.uint64)
        if rate < 1:
            positions = _mixed(rows) + np.uint64(self.position(request_id))  # modulo 2**64
            rows = rows[positions < np.uint64(int(rate * POSITIONS))]
        return rows.astype(np.intp)

    def would_sample(self, given: str, rate: float) -> bool:
        """Whether a row with this id is sampled at a rate."""
        request_id, row = _split(given)
        return len(self.sampled_rows(request_id, row or 0, (row or 0) + 1, rate)) > 0

    def _digest(self, request_id: str) -> bytes:
        digest = self._empty.copy()
        digest.update(request_id.encode())
        return digest.digest()


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finalizer, a permutation of the 64-bit numbers with 0 as a fixed point."""
    mixed = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))
