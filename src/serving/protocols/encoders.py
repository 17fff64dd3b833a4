"""Encodes the answers to a batch in each format, part by part."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from src.core.predictions import Predictions
from src.serving.models.predictor import Predictor
from src.serving.tables.parts import BINARY, DOUBLE, TEXT, Format, kind_of, text_of
from src.serving.tables.worker_messages import End, Message, Piece, Table, WriteTask
from src.serving.tables.workers import Worker

Columns = Mapping[str, Sequence[Any]]
NONE: Mapping[str, Any] = {}
PREDICTION = "prediction"
# The member of a JSON answer with the row's kept columns.
EXTRA = "extra_columns"


class Encoder:
    """Writes the answers to one batch: ``part`` for each of its parts, then ``end``.

    ``kinds`` are those of the kept columns, by name. ``part`` and ``end`` wait for the worker, if the format needs one.
    """

    def __init__(
        self, predictor: Predictor, request_id: str, kinds: Mapping[str, str] = NONE, worker: Worker | None = None
    ) -> None:
        self._model, self._classes, self._labels = predictor.model_name, predictor.classes, predictor.engine.labels
        self._request_id = request_id
        self._kinds = kinds
        self.worker = worker
        self._begun = False

    def part(self, found: Predictions, kept: Columns = NONE) -> bytes:
        """Encode some answers with their kept columns, and what precedes them. Blocks for a few milliseconds."""
        raise NotImplementedError

    def end(self) -> bytes:
        """The bytes after the last answer."""
        return b""


class _JsonEncoder(Encoder):
    """The object that ``POST /predict`` returns for a list of records."""

    def part(self, found: Predictions, kept: Columns = NONE) -> bytes:
        opening, self._begun = b"," if self._begun else b'{"predictions":[', True
        return opening + _encoded(found, self._classes, b",", kept)

    def end(self) -> bytes:
        return b"]," + msgspec.json.encode({"model": self._model, "request_id": self._request_id})[1:]


class _NdjsonEncoder(Encoder):
    """One answer per line; the model and the request's id are in the headers."""

    def part(self, found: Predictions, kept: Columns = NONE) -> bytes:
        return _encoded(found, self._classes, b"\n", kept) + b"\n"


class _CsvEncoder(Encoder):
    """A header and one line per answer: kept columns, the prediction, and the classes' probabilities if any."""

    def part(self, found: Predictions, kept: Columns = NONE) -> bytes:
        names = [PREDICTION] if found.probabilities is None else [PREDICTION, *probability_columns(self._classes)]
        header = b"" if self._begun else _csv([[*kept, *names]])
        self._begun = True
        if kept:
            texts = [[text_of(value) for value in values] for values in kept.values()]
            return header + _csv(zip(*texts, *_columns_of(found, self._classes).values(), strict=True))
        ending = b",%b" * (len(names) - 1) + b"\n"
        return header + _filled(found, self._classes, lambda label: _csv([[label]])[:-1], (b"", ending))


class _ArrowEncoder(Encoder):
    """Arrow or Parquet with the columns of CSV; the schema's metadata name the model.

    A part returns the bytes of the file that are complete with it; none until a row group is full.
    """

    def __init__(self, form: Format, *others: Any) -> None:
        super().__init__(*others)
        self._form = form

    def part(self, found: Predictions, kept: Columns = NONE) -> bytes:
        answers = _columns_of(found, self._classes)
        kinds = {**self._kinds, **dict.fromkeys(answers, DOUBLE), PREDICTION: kind_of(self._labels) or DOUBLE}
        columns: list[NDArray[Any] | Sequence[Any]] = [
            [text_of(value) for value in values] if kinds[name] == TEXT else values for name, values in kept.items()
        ]
        for name, values in answers.items():
            columns.append(np.array(values, dtype=np.float64) if kinds[name] == DOUBLE else values)
        messages: list[Message] = [Table.of(columns)]
        if not self._begun:
            self._begun = True
            source = {"model_name": self._model.name, "model_version": self._model.version}
            messages.insert(0, WriteTask(self._form, kinds, {**source, "request_id": self._request_id}))
        return self._heard(*messages)

    def end(self) -> bytes:
        return self._heard(End())

    def _heard(self, *messages: Message) -> bytes:
        assert self.worker  # noqa: S101 - these formats need one
        for message in messages:
            self.worker.tell(message)
        answer = self.worker.hear()
        assert isinstance(answer, Piece | End)  # noqa: S101 - the worker's answer to each table, and to the end
        return answer.data


ENCODERS: Mapping[Format, Callable[..., Encoder]] = {
    Format.JSON: _JsonEncoder,
    Format.NDJSON: _NdjsonEncoder,
    Format.CSV: _CsvEncoder,
    **{form: partial(_ArrowEncoder, form) for form in BINARY},
}


def _encoded(found: Predictions, classes: tuple[str, ...], between: bytes, kept: Columns = NONE) -> bytes:
    """The answers of ``tables.answers`` with the kept columns as JSON, joined by ``between``."""
    if kept:
        lines = _encoded(found, classes, b"\n").split(b"\n")  # JSON on one line has it nowhere else
        rows = (dict(zip(kept, values, strict=True)) for values in zip(*kept.values(), strict=True))
        return between.join(
            [line[:-1] + b"," + msgspec.json.encode({EXTRA: row})[1:] for line, row in zip(lines, rows, strict=True)]
        )
    shares = b""
    if found.probabilities is not None:
        names = [msgspec.json.encode(name).replace(b"%", b"%%") for name in classes]
        shares = b',"probabilities":{' + b",".join([name + b":%b" for name in names]) + b"}"
    return _filled(found, classes, msgspec.json.encode, (b'{"prediction":', shares + b"}"), between)


def _filled(
    found: Predictions,
    classes: tuple[str, ...],
    text_of_label: Callable[[object], bytes],
    around: tuple[bytes, bytes],
    between: bytes = b"",
) -> bytes:
    """The answers, filled into a template for each label: an object per row would take three times as long.

    ``around`` a label are the bytes before it and those after it, with ``%b`` for each probability.
    """
    if classes:
        numbers = [] if found.probabilities is None else found.shown.ravel().tolist()
        template_of = {label: text_of_label(label).replace(b"%", b"%%").join(around) for label in set(found.values)}
        templates = [template_of[label] for label in found.values]
    else:
        numbers = [float(value) for value in found.values]
        templates = [b"%b".join(around)] * len(numbers)
    texts = msgspec.json.encode(numbers)[1:-1].split(b",") if numbers else ()
    return between.join(templates) % tuple(texts)


def _csv(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def probability_columns(classes: Sequence[str]) -> list[str]:
    """The names of the probabilities' columns."""
    return [f"probability_{name}" for name in classes]


def _columns_of(found: Predictions, classes: tuple[str, ...]) -> dict[str, Sequence[Any]]:
    """Answers as columns of n values: the prediction and, if any, the probability of each class."""
    columns = {PREDICTION: found.values}
    if found.probabilities is not None:
        columns |= dict(zip(probability_columns(classes), found.shown.T.tolist(), strict=True))
    return columns
