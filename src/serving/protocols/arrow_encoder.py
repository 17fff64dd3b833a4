"""Encodes the answers to a batch as Arrow or Parquet, in a worker."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.core.predictions import Predictions
from src.serving.models.predictor import Predictor
from src.serving.protocols.encoders import NO_COLUMNS, PREDICTION, Columns, Encoder, columns_of
from src.serving.tables.extra_columns import BOOLEAN, DOUBLE, LONG, TEXT, text_of
from src.serving.tables.formats import Format
from src.serving.tables.worker_messages import End, Piece, Table, WriteTask
from src.serving.tables.workers import Worker

# The kind of the prediction's column by the type of the labels.
KINDS: Mapping[type, str] = {str: TEXT, bool: BOOLEAN, int: LONG, float: DOUBLE}


class ArrowEncoder(Encoder):
    """Kept columns, the prediction and, for each class, probability_<class>; the schema's metadata name the model.

    Args:
        form: Arrow or Parquet.
        worker: writes the file.
    """

    def __init__(
        self, predictor: Predictor, request_id: str, kinds: Mapping[str, str], *, form: Format, worker: Worker
    ) -> None:
        super().__init__(predictor, request_id, kinds)
        self._form = form
        self._worker = self.worker = worker
        self._kind = KINDS[type(predictor.labels[0])] if predictor.labels else DOUBLE
        self._begun = False

    def part(self, found: Predictions, kept: Columns = NO_COLUMNS) -> bytes:
        """The bytes of the file that are complete with these answers; none until a row group is full."""
        answers = columns_of(found, self._classes)
        if not self._begun:
            self._begun = True
            own = {name: self._kind if name == PREDICTION else DOUBLE for name in answers}
            self._worker.tell(self._task({**self._kinds, **own}))
        columns = [_kept(values, self._kinds[name]) for name, values in kept.items()]
        for name, values in answers.items():
            is_number = name != PREDICTION or self._kind == DOUBLE
            columns.append(np.array(values, dtype=np.float64 if is_number else object))
        self._worker.tell(Table.of(columns))
        return self._heard()

    def end(self) -> bytes:
        """The rest of the file."""
        self._worker.tell(End())
        return self._heard()

    def _task(self, kinds: dict[str, str]) -> WriteTask:
        model = self._model
        metadata = {"model_name": model.name, "model_version": model.version, "request_id": self._request_id}
        return WriteTask(self._form, kinds, metadata)

    def _heard(self) -> bytes:
        message = self._worker.hear()
        assert isinstance(message, Piece | End)  # noqa: S101 - the worker's answer to each table, and to the end
        return message.data


def _kept(values: Sequence[Any], kind: str) -> NDArray[Any]:
    """Kept values of a column of this kind, as an array of objects because any may be missing."""
    array = np.empty(len(values), dtype=object)
    array[:] = [text_of(value) for value in values] if kind == TEXT else values
    return array
