"""Writes the predictions for one file as Parquet, in one step, and recognizes complete outputs."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uuid_utils

from src.core.durable_file import new_file, sync_folder
from src.core.errors import LoopError
from src.core.predictions import Predictions
from src.services.batch.checked_rows import CheckedRows
from src.services.batch.objects import ObjectPath
from src.serving.models.predictor import Predictor
from src.serving.protocols.encoders import PREDICTION, probability_columns
from src.serving.tables.parts import BOOLEAN, DOUBLE, LONG, kind_of

ROW, MODEL_VERSION, PROBLEM = "row", "model_version", "problem"
# The key of a file's metadata that says from what it was made.
ORIGIN = b"batch_scoring"
ROW_GROUP_ROWS = 100_000
TYPES = {BOOLEAN: pa.bool_(), LONG: pa.int64(), DOUBLE: pa.float64()}


def reserved_names(classes: Sequence[str]) -> set[str]:
    """The output's columns that no column of ids may be named like."""
    return {ROW, PREDICTION, MODEL_VERSION, PROBLEM, *probability_columns(classes)}


def origin_of(output: Path | ObjectPath) -> str | None:
    """From what a complete output was made; None if there is no such file, or it is none of these."""
    with contextlib.suppress(OSError, pa.ArrowException), _opened(output) as stream:
        metadata = pq.read_metadata(stream).metadata or {}
        return metadata.get(ORIGIN, b"").decode() or None
    return None


@dataclass
class Output:
    """A file of predictions that is being written: one row per row, in the order of the input.

    Args:
        stream: where it is written.
        predictor: the model.
        ids: the types of the columns of ids; without any, rows are numbered from 1.
        origin: from what it is made.
    """

    stream: Any
    predictor: Predictor
    ids: Sequence[pa.Field]
    origin: str
    rows: int = 0
    problems: int = 0
    _waiting: list[pa.RecordBatch] = field(default_factory=list)

    def __post_init__(self) -> None:
        labels, classes = self.predictor.engine.labels, self.predictor.classes
        label = TYPES.get(kind_of(labels) or DOUBLE, pa.string())
        shares = probability_columns(classes) if classes and self.predictor.gives_probabilities else []
        self._answers = [pa.field(PREDICTION, label), *(pa.field(name, pa.float64()) for name in shares)]
        self._schema = pa.schema(
            [
                *(self.ids or [pa.field(ROW, pa.int64())]),
                *self._answers,
                pa.field(MODEL_VERSION, pa.string()),
                pa.field(PROBLEM, pa.string()),
            ],
            metadata={ORIGIN: self.origin},
        )
        self._writer = pq.ParquetWriter(self.stream, self._schema)

    def add(self, rows: pa.RecordBatch, checked: CheckedRows, found: Predictions | None) -> None:
        """Add the rows of a chunk, with ``found`` for its valid rows."""
        count = rows.num_rows
        ids = [rows.column(item.name) for item in self.ids]
        if not ids:
            ids = [pa.array(np.arange(self.rows + 1, self.rows + count + 1))]
        answers = self._columns_of(found)
        if len(checked.places) < count:
            answers = [_spread(column, checked.places, count) for column in answers]
        problems = pa.nulls(count, pa.string())
        if checked.problems:
            problems = pa.array([checked.problems.get(row) for row in range(count)], pa.string())
        version = pa.repeat(pa.scalar(self.predictor.version.version), count)
        self._waiting.append(pa.record_batch([*ids, *answers, version, problems], self._schema))
        self.rows += count
        self.problems += len(checked.problems)
        if sum(batch.num_rows for batch in self._waiting) >= ROW_GROUP_ROWS:
            self._write()

    def close(self) -> None:
        """Write what is left, and the end of the file."""
        self._write()
        self._writer.close()

    def _write(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting))
            self._waiting = []

    def _columns_of(self, found: Predictions | None) -> list[pa.Array]:
        """The columns of the prediction and of the probabilities, if any."""
        if found is None:
            return [pa.array([], item.type) for item in self._answers]
        kind = self._answers[0].type
        if found.given is None:
            labels = pa.array(found.classes, kind).take(pa.array(found.indices))
        else:
            labels = pa.array(found.given, kind)
        return [labels, *(pa.array(share) for share in (found.shown.T if len(self._answers) > 1 else ()))]


def _opened(output: Path | ObjectPath) -> contextlib.AbstractContextManager[BinaryIO]:
    return output.open() if isinstance(output, ObjectPath) else output.open("rb")


@contextlib.contextmanager
def replacing(target: Path | ObjectPath, folder: Path) -> Iterator[Any]:
    """A stream to a temporary file in a folder, which becomes the target if the context succeeds.

    A target that is a file must be on the folder's disk.

    Raises:
        LoopError: it cannot be written, or the folder was deleted, as by a later run.
    """
    temporary = folder / f"{uuid_utils.uuid7()}.tmp"
    try:
        with new_file(temporary) as stream:
            yield stream
        if isinstance(target, ObjectPath):
            target.take(temporary)
        else:
            temporary.replace(target)
            sync_folder(target.parent)
    except OSError as error:
        raise LoopError(f"{target} cannot be written ({error.strerror or error})") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _spread(column: pa.Array, places: Any, count: int) -> pa.Array:
    """A column of the valid rows as one of all rows, with nulls for the others."""
    indices = np.full(count, -1)
    indices[places] = np.arange(len(places))
    return column.take(pa.array(indices, mask=indices < 0))
