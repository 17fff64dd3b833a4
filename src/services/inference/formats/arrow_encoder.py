"""How the answers to a batch are written as Arrow or Parquet: by a worker."""

import numpy as np

from src.core.predictions import Predictions
from src.services.inference.formats import Format
from src.services.inference.formats.encoders import Encoder, columns_of
from src.services.inference.formats.worker_messages import End, Piece, WriteTask, table_message
from src.services.inference.formats.workers import Worker
from src.services.inference.model.predictor import Predictor


class ArrowEncoder(Encoder):
    """The columns prediction and, for each class, probability_<class>; who answered stands in the schema's metadata.

    Args:
        form: Arrow or Parquet.
        worker: writes it.
    """

    waits = True

    def __init__(self, predictor: Predictor, request_id: str, *, form: Format, worker: Worker) -> None:
        super().__init__(predictor, request_id)
        self._form = form
        self._worker = worker
        self._begun = False

    def part(self, found: Predictions) -> bytes:
        """What of the file is known with these answers; none at all until a row group is full."""
        columns = columns_of(found, self._classes)
        if not self._begun:
            self._begun = True
            self._worker.begin(self._task(tuple(columns)))
        kinds = [object if name == "prediction" and self._classes else np.float64 for name in columns]
        arrays = [np.array(values, dtype=kind) for values, kind in zip(columns.values(), kinds, strict=True)]
        self._worker.tell(table_message(arrays))
        return self._heard()

    def end(self) -> bytes:
        """The rest of the file."""
        self._worker.tell(End())
        rest = self._heard()
        self._worker.hear()
        return rest

    def _task(self, names: tuple[str, ...]) -> WriteTask:
        told = {"model_name": self._model.name, "model_version": self._model.version, "request_id": self._request_id}
        text = tuple(name == "prediction" and bool(self._classes) for name in names)
        return WriteTask(self._form, names, text, told)

    def _heard(self) -> bytes:
        message = self._worker.hear()
        assert isinstance(message, Piece)  # noqa: S101 - what each table is answered by
        return message.data
