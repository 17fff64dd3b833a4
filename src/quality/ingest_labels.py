"""Moves labels to their store: from ``POST /feedback``, from files in a folder, and from the rows of a query."""

import hashlib
import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from src.core.errors import DataError
from src.core.feedback import FEEDBACK_SUFFIX, Label
from src.core.prediction_log import canonical_id
from src.quality.label_rows import CheckedLabel, CheckedRows, NumberedRow, RawLabel, is_missing
from src.quality.label_sources import read_labels
from src.quality.label_staging import LabelStaging
from src.quality.manifest import ReadFile
from src.quality.parquet_store import ParquetStore
from src.quality.segments import MAX_BYTES, groups_of, set_aside

# A file is read once it has not changed for so long.
SETTLED_SECONDS = 5.0
# The source of labels from a query; files have suffixes.
QUERY = "query"
NANOSECONDS = 1_000_000_000

logger = logging.getLogger(__name__)


@dataclass
class Ingested:
    """What an ingest did.

    Attributes:
        stored: the number of new labels in the store.
        problems: sentences about files and rows that were left out.
    """

    stored: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class LabelRules:
    """What the labels of a model have in common.

    Attributes:
        classes: its classes; none for a regression. Inference checks what it accepts by those of the served model.
        logged_key: the team's id as the log has it, which may be hashed.
    """

    classes: Collection[str] = ()
    logged_key: Callable[[str], str] = str


def ingest_feedback(store: ParquetStore, folder: Path, rules: LabelRules) -> int:
    """Move the labels of ``POST /feedback`` to the store; return how many were stored.

    A file that cannot be read is moved to ``bad``, with a log line.

    Args:
        store: the model's labels, locked and settled.
        folder: a file for each request.
        rules: of the model.
    """
    stored = 0
    for names in groups_of(folder, FEEDBACK_SUFFIX, MAX_BYTES):
        good = []
        with LabelStaging(store.folder) as staging:
            for name in names:
                try:
                    staging.append(_sent_labels(folder / name, rules))
                except ValueError as error:
                    set_aside(folder, name, f"an unreadable file of labels: {error}")
                else:
                    good.append(name)
            stored += store.add(staging.all(), good)
    return stored


def ingest_folder(store: ParquetStore, folder: Path, rules: LabelRules, now: datetime) -> Ingested:
    """Store what is new in the CSV, NDJSON and Parquet files of a folder, which are not changed.

    A file is read when it has not changed for five seconds, and again when its content has changed; ``manifest.read``
    remembers it, with the problem that it has. Hidden files are ignored.

    Args:
        store: the model's labels, locked and settled.
        folder: the files; it may be missing.
        rules: of the model.
        now: when the labels are received.
    """
    done = Ingested()
    paths = [path for path in sorted(folder.glob("*")) if path.is_file() and not path.name.startswith(".")]
    store.forget_read([file.name for file in store.manifest.read if folder / file.name not in paths])
    known = {file.name: file for file in store.manifest.read}
    for path in paths:
        try:
            done.stored += _ingest_file(store, path, known.get(path.name), rules, now)
        except OSError as error:
            done.problems.append(f"{path.name} cannot be read ({error.strerror})")
    done.problems += [f"{file.name} {file.problem}" for file in store.manifest.read if file.problem]
    return done


def ingest_query(store: ParquetStore, rows: Iterable[RawLabel], rules: LabelRules, now: datetime) -> Ingested:
    """Store what is new in the rows of a query: request id or key, label, and time or None.

    Rows without a label are not labelled yet, and are skipped.

    Args:
        store: the model's labels, locked and settled.
        rows: any values.
        rules: of the model.
        now: when the labels are received.
    """
    checked = CheckedRows(rules.classes)
    numbered = enumerate(rows, start=1)
    labelled = (NumberedRow(f"row {number}", row) for number, row in numbered if not is_missing(row.label))
    with LabelStaging(store.folder) as staging:
        staging.append((_as_logged(label, rules), now) for label in checked.valid(labelled))
        stored = store.add(staging.news(store.paths(), QUERY, now))
    return Ingested(stored, [f"the query of labels {checked.problem}"] if checked.problem else [])


def _ingest_file(store: ParquetStore, path: Path, before: ReadFile | None, rules: LabelRules, now: datetime) -> int:
    """Store what is new in a file, which was read as ``before`` says; return the number of stored labels.

    Raises:
        OSError: the file cannot be read; it is tried again.
    """
    found = path.stat()
    if before is not None and (before.bytes, before.modified_ns) == (found.st_size, found.st_mtime_ns):
        return 0
    if abs(now.timestamp() - found.st_mtime) < SETTLED_SECONDS:  # a time in the future is that of another clock
        return 0
    read = ReadFile(name=path.name, bytes=found.st_size, modified_ns=found.st_mtime_ns, sha256="")
    with path.open("rb") as file, LabelStaging(store.folder) as staging:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        read = read.model_copy(update={"sha256": digest})
        if before is not None and before.sha256 == digest:
            return store.add([], read=read.model_copy(update={"problem": before.problem}))
        file.seek(0)
        checked = CheckedRows(rules.classes)
        try:
            staging.append((_as_logged(label, rules), now) for label in checked.valid(read_labels(path, file)))
            problem = checked.problem
        except DataError as error:
            problem = str(error)
        if (path.stat().st_size, path.stat().st_mtime_ns) != (read.bytes, read.modified_ns):
            return 0  # it is being written
        if problem:
            logger.warning("labels: %a %s", path.name, problem)
        read = read.model_copy(update={"problem": problem})
        return store.add(staging.news(store.paths(), path.name, now), read=read)


def _sent_labels(path: Path, rules: LabelRules) -> Iterator[tuple[CheckedLabel, datetime]]:
    with path.open("rb") as file:
        for line in file:
            try:
                sent = Label.model_validate_json(line)
            except ValidationError as error:
                raise ValueError(f"not a label: {error.errors(include_input=False)[0]['msg']}") from None
            if (sent.request_id is None) == (sent.key is None):
                raise ValueError("a label needs either a request's id or a key")
            request_id = None if sent.request_id is None else canonical_id(sent.request_id)
            yield _as_logged(CheckedLabel(request_id, sent.key, sent.label, sent.time), rules), sent.received


def _as_logged(label: CheckedLabel, rules: LabelRules) -> CheckedLabel:
    return label if label.key is None else label._replace(key=rules.logged_key(label.key))
