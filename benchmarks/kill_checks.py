"""What must hold after processes were killed: every acknowledged label once, no row twice, and a second's rows lost."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.kill_load import Traffic
from src.core.errors import LoopError
from src.core.feedback import FEEDBACK_FOLDER, FEEDBACK_SUFFIX
from src.core.prediction_log import OPEN_SUFFIX, SEGMENT_SUFFIX, SEGMENTS_FOLDER
from src.quality.parquet_store import ParquetStore
from src.quality.segments import BAD_FOLDER
from src.quality.stores import label_store, log_store
from src.serving.watch.prediction_log import WRITE_SECONDS

# For the write itself, and for the thread to be scheduled on a loaded machine.
WRITING_SECONDS = 0.5
ROW_COLUMNS = ("request_id", "model_version", "role")
LABEL_COLUMNS = ("request_id", "label")
# Suffixes of files that wait for the process `quality`. Others are unfinished: it deletes them an hour after a kill.
WAITING = frozenset({SEGMENT_SUFFIX, OPEN_SUFFIX, FEEDBACK_SUFFIX})
EXAMPLES = 3


@dataclass(frozen=True)
class Kill:
    """One round: which process was killed, and when, by ``time.monotonic``."""

    process: str
    at: float


@dataclass(frozen=True)
class Stored:
    """What is in the stores: rows as id, version and role; labels as id and label."""

    rows: Counter[tuple[str, ...]]
    labels: Counter[tuple[str, ...]]


@dataclass(frozen=True)
class Loss:
    """The answered rows that a kill has lost, and how long before it the first of them was answered."""

    rows: int = 0
    seconds: float = 0.0


def read_stores(quality_dir: Path, model: str) -> tuple[Stored, list[str]]:
    """What is stored, and what cannot be read or was left behind, as sentences."""
    faults: list[str] = []
    stored = Stored(
        _rows_of(log_store(quality_dir, model), ROW_COLUMNS, faults),
        _rows_of(label_store(quality_dir, model), LABEL_COLUMNS, faults),
    )
    for name in (SEGMENTS_FOLDER, FEEDBACK_FOLDER):
        bad = sorted(path.name for path in (quality_dir / name / BAD_FOLDER).glob("*"))
        left = sorted(path.name for path in (quality_dir / name).glob("*") if path.suffix in WAITING)
        if bad:
            faults.append(f"{len(bad)} files of {name} could not be read: {_some(bad)}")
        if left:
            faults.append(f"{len(left)} files are left in {name}: {_some(left)}")
    return stored, faults


def check_labels(traffic: Traffic, stored: Stored) -> list[str]:
    """Acknowledged labels that are not stored, and labels that are stored twice or were never sent."""
    sent, accepted = Counter[tuple[str, ...]](traffic.labels), Counter[tuple[str, ...]](traffic.accepted)
    return [
        *_fault("acknowledged labels are not stored", accepted - stored.labels),
        *_fault("labels are stored more often than they were sent", stored.labels - sent),
    ]


def check_rows(traffic: Traffic, stored: Stored) -> list[str]:
    """Rows that are stored twice or were never requested."""
    return [
        *_fault("rows are stored twice", (row for row, count in stored.rows.items() if count > 1)),
        *_fault("rows were never requested", (row for row in stored.rows if row[0] not in traffic.sent)),
    ]


def losses(traffic: Traffic, stored: Stored, kills: Sequence[Kill]) -> tuple[list[Loss], list[str]]:
    """What each kill has lost, and the losses that are not allowed, as sentences.

    Args:
        traffic: with all rows sampled.
        stored: what is in the stores.
        kills: in the order of their times. A row is lost by the first kill of inference after it was requested.
    """
    places = [place for place, kill in enumerate(kills) if kill.process == "inference"]
    times, found = [kills[place].at for place in places], [Loss() for _ in kills]
    kept, without_kill = {row[0] for row in stored.rows}, list[str]()
    for request_id, answered in traffic.answered.items():
        if request_id in kept:
            continue
        following = bisect_left(times, traffic.sent[request_id])
        if following == len(times):
            without_kill.append(request_id)
            continue
        before, loss = times[following] - answered, found[places[following]]
        found[places[following]] = Loss(loss.rows + 1, max(loss.seconds, before))
    limit = WRITE_SECONDS + WRITING_SECONDS
    faults = _fault("answered rows are missing, and inference was not killed after them", without_kill)
    for number, loss in enumerate(found, 1):
        if loss.seconds > limit:
            faults.append(f"round {number}: a row that was answered {loss.seconds:.2f} s before the kill is missing")
    return found, faults


def _rows_of(store: ParquetStore, columns: Sequence[str], faults: list[str]) -> Counter[tuple[str, ...]]:
    """How often each row is stored; what cannot be read is added to ``faults``."""
    name, rows = store.folder.parent.name, Counter[tuple[str, ...]]()
    try:
        expected = store.manifest.rows
        for path in store.paths():
            table = pq.read_table(path, columns=list(columns), partitioning=None)
            rows.update(zip(*(table[column].to_pylist() for column in columns), strict=True))
    except (LoopError, OSError, pa.ArrowException) as error:
        faults.append(f"{name} cannot be read: {error}")
        return rows
    if rows.total() != expected:
        faults.append(f"{name}: the manifest counts {expected:,} rows, and there are {rows.total():,}")
    return rows


def _fault(what: str, items: Iterable[object]) -> list[str]:
    """A sentence with some of the items; none if there are none."""
    found = [str(item) for item in items]
    return [f"{len(found):,} {what}: {_some(found)}"] if found else []


def _some(names: Sequence[str]) -> str:
    more = len(names) - EXAMPLES
    return ", ".join(names[:EXAMPLES]) + (f" and {more:,} more" if more > 0 else "")
