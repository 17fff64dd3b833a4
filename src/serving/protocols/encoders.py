"""Encodes the answers to a batch in each text format, part by part."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from src.core.predictions import Predictions
from src.serving.models.predictor import Predictor
from src.serving.protocols.answer_json import encode_answers
from src.serving.tables.extra_columns import text_of
from src.serving.tables.formats import Format
from src.serving.tables.workers import Worker

Columns = Mapping[str, Sequence[Any]]
NO_COLUMNS: Columns = {}
NO_KINDS: Mapping[str, str] = {}
PREDICTION = "prediction"


class Encoder:
    """Writes the answers to one batch: ``start``, then ``part`` for each of its parts, then ``end``.

    Args:
        predictor: the model that predicted.
        request_id: the request's id.
        kinds: the kinds of the kept columns, by name.

    Attributes:
        worker: the process that ``part`` and ``end`` wait for, if any.
    """

    worker: Worker | None = None

    def __init__(self, predictor: Predictor, request_id: str, kinds: Mapping[str, str] = NO_KINDS) -> None:
        self._kinds = kinds
        self._classes = predictor.classes
        self._model = predictor.model_name
        self._request_id = request_id

    def start(self) -> bytes:
        """The bytes before the first answer."""
        return b""

    def part(self, found: Predictions, kept: Columns = NO_COLUMNS) -> bytes:
        """Encode some answers with their kept columns. Blocks for a few milliseconds."""
        raise NotImplementedError

    def end(self) -> bytes:
        """The bytes after the last answer."""
        return b""


class JsonEncoder(Encoder):
    """The object that ``POST /predict`` returns for a list of records."""

    _comma = b""

    def start(self) -> bytes:
        """The start of the object."""
        return b'{"predictions":['

    def part(self, found: Predictions, kept: Columns = NO_COLUMNS) -> bytes:
        """Answers, with a comma before them unless they are the first."""
        comma, self._comma = self._comma, b","
        return comma + encode_answers(found, self._classes, b",", kept)

    def end(self) -> bytes:
        """The end of the object, with the model and the request's id."""
        return b"]," + msgspec.json.encode({"model": self._model, "request_id": self._request_id})[1:]


class NdjsonEncoder(Encoder):
    """One answer per line; the model and the request's id are in the headers."""

    def part(self, found: Predictions, kept: Columns = NO_COLUMNS) -> bytes:
        """Whole lines."""
        return encode_answers(found, self._classes, b"\n", kept) + b"\n"


class CsvEncoder(Encoder):
    """A header and one line per answer: kept columns, the prediction, and the classes' probabilities if any."""

    _begun = False

    def part(self, found: Predictions, kept: Columns = NO_COLUMNS) -> bytes:
        """Whole lines."""
        texts = {name: [text_of(value) for value in values] for name, values in kept.items()}
        columns = {**texts, **columns_of(found, self._classes)}
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if not self._begun:
            self._begun = True
            writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        return text.getvalue().encode()


def columns_of(found: Predictions, classes: tuple[str, ...]) -> dict[str, Sequence[Any]]:
    """Answers as columns of n values: the prediction and, if any, the probability of each class."""
    columns = {PREDICTION: found.values}
    if found.probabilities is not None:
        columns |= dict(zip(probability_columns(classes), found.shown.T.tolist(), strict=True))
    return columns


def probability_columns(classes: Sequence[str]) -> list[str]:
    """The names of the probabilities' columns."""
    return [f"probability_{name}" for name in classes]


ENCODERS: Mapping[Format, type[Encoder]] = {
    Format.JSON: JsonEncoder,
    Format.NDJSON: NdjsonEncoder,
    Format.CSV: CsvEncoder,
}
