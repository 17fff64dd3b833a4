"""Which rows an erased id stands for: those of a request, one row of a request, or those with a key."""

import hashlib
from collections.abc import Collection, Sequence
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from src.core.prediction_log import ROW_SEPARATOR, canonical_id
from src.quality.manifest import Erased

REQUEST_ID, KEY, TIME_COLUMN = "request_id", "key", "time"
# Only labels have it: where they come from, if they come from there again and again.
SOURCE = "source"


def names_of(given: str) -> list[str]:
    """The names to erase for an id: ``abc`` is a request or a key; ``abc/0`` is one row, or a key."""
    canonical = canonical_id(given)
    is_first_row = canonical != given and ROW_SEPARATOR not in canonical
    return list(dict.fromkeys([given, f"{canonical}{ROW_SEPARATOR}0" if is_first_row else canonical]))


def matches(table: pa.Table, names: Sequence[str]) -> pa.ChunkedArray:
    """A mask of the rows whose request, row or key has one of these names."""
    wanted = pa.array(names, pa.string())
    ids = table[REQUEST_ID]
    found = [pc.is_in(column, value_set=wanted) for column in (_requests(ids), _rows(ids), table[KEY])]
    return pc.or_(pc.or_(found[0], found[1]), found[2])


def rows_with_key(table: pa.Table, names: Sequence[str]) -> list[str]:
    """The names of the rows whose key has one of these names, the first row of a request as ``abc/0``."""
    found = table.filter(pc.is_in(table[KEY], value_set=pa.array(names, pa.string())))
    rows: list[str] = pc.drop_null(_rows(found[REQUEST_ID])).to_pylist()
    return rows


def tombstones(names: Collection[str], now: datetime) -> list[Erased]:
    """What the manifest remembers of erased names."""
    return [Erased(id_sha256=_sha256(name), at=now) for name in names]


def without_erased(table: pa.Table, erased: Sequence[Erased], time: str) -> pa.Table:
    """The rows whose id is not erased.

    A request's id is never used twice, so that its rows are left out whenever they arrive. A key may occur again: only
    rows that are not later than its erasure are left out, and labels without a time from a source that may have had
    them before.

    Args:
        table: its column ``time`` says when a row was predicted or a label became true.
        erased: erased ids.
        time: the column that counts where ``time`` is null.
    """
    if not erased:
        return table
    until = {entry.id_sha256: entry.at for entry in erased}

    def is_kept(request: str | None, row: str | None, key: str | None, at: datetime | None) -> bool:
        if any(name is not None and _sha256(name) in until for name in (request, row)):
            return False
        limit = None if key is None else until.get(_sha256(key))
        return limit is None or (at is not None and at > limit)

    ids = table[REQUEST_ID]
    moments = table[time]
    if SOURCE in table.column_names:
        moments = pc.if_else(pc.is_null(table[SOURCE]), moments, pa.scalar(None, moments.type))
    moments = pc.coalesce(table[TIME_COLUMN], moments)
    columns = [column.to_pylist() for column in (_requests(ids), _rows(ids), table[KEY], moments)]
    return table.filter(pa.array([is_kept(*row) for row in zip(*columns, strict=True)], pa.bool_()))


def _requests(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """The ids of the rows' requests."""
    return pc.replace_substring_regex(ids, pattern=f"(?s){ROW_SEPARATOR}.*", replacement="")


def _rows(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """The ids of the rows, the first row of a request with its number."""
    numbered = pc.binary_join_element_wise(ids, "0", ROW_SEPARATOR)
    return pc.if_else(pc.match_substring(ids, ROW_SEPARATOR), ids, numbered)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
