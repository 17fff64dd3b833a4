"""Erases everything that is stored about an id: predictions, labels, and what arrives later."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from src.quality.erased_rows import names_of
from src.quality.parquet_store import ParquetStore


@dataclass(frozen=True)
class Erasure:
    """How many rows of the log, and how many labels, were erased."""

    rows: int
    labels: int


def erase(
    log: ParquetStore, labels: ParquetStore, given: str, now: datetime, logged_key: Callable[[str], str] = str
) -> Erasure:
    """Erase a request (all its rows), one row of a request (``abc/0`` is the first one), or all rows with a key.

    Labels that were sent for rows with the key are erased, too, also where they name the row instead. To know these
    rows, ingest the segments before. Rows and labels that are not stored yet are left out when they arrive.

    Args:
        log: the prediction log of a model; this waits for its lock.
        labels: the labels of the model.
        given: the id or key.
        now: when it is erased.
        logged_key: the key as the log has it, which may be hashed.
    """
    names = list(dict.fromkeys([*names_of(given), logged_key(given)]))
    with log.locked(), labels.locked():
        log.settle()
        labels.settle()
        with_labels = list(dict.fromkeys([*names, *log.rows_with_key(names)]))
        # Labels first: a process that is killed in between finds the same rows by their key again.
        erased_labels = labels.erase(with_labels, now)
        return Erasure(log.erase(names, now), erased_labels)
