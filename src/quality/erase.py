"""Erases everything that is stored about an id: predictions, labels, and what arrives later."""

from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime

from src.quality.erased_rows import names_of
from src.quality.stores import Stores


@dataclass(frozen=True)
class Erasure:
    """How many rows of the log, and how many labels, were erased."""

    rows: int
    labels: int


def erase(stores: Collection[Stores], given: str, now: datetime, hashed: str | None = None) -> Erasure:
    """Erase a request (all its rows), one row of a request (``abc/0`` is the first one), or all rows with a key.

    Labels that were sent for rows with the key are erased, too, also where they name the row instead. To know these
    rows, ingest the segments before. Rows and labels that are not stored yet are left out when they arrive.

    Args:
        stores: of all models; this waits for their locks.
        given: the id or key.
        now: when it is erased.
        hashed: the key as a log has it that has only hashes of keys.
    """
    names = list(dict.fromkeys([*names_of(given), *([] if hashed is None else [hashed])]))
    with ExitStack() as stack:
        for store in [store for both in stores for store in (both.log, both.labels)]:
            stack.enter_context(store.locked())
            store.settle()
        with_labels = list(dict.fromkeys([*names, *(row for both in stores for row in both.log.rows_with_key(names))]))
        # Labels first: a process that is killed in between finds the same rows by their key again.
        erased_labels = sum(both.labels.erase(with_labels, now) for both in stores)
        return Erasure(sum(both.log.erase(names, now) for both in stores), erased_labels)
