"""The shapes of the answers of ``/predict``; the shape of requests follows from the model's signature."""

import msgspec
from msgspec import UNSET, UnsetType

from src.core.predictions import SCALE, Label, Predictions

# Up to so many rows, rounding one by one is faster than numpy.
FEW = 6


class ModelName(msgspec.Struct, frozen=True):
    """The model that predicted."""

    name: str
    version: str


class Answer(msgspec.Struct, frozen=True):
    """The prediction for one record."""

    prediction: Label  # the class, or a number for a regression
    probabilities: dict[str, float] | UnsetType = UNSET  # in [0, 1], in sum 1 up to rounding; absent if there are none


class Prediction(Answer, frozen=True, kw_only=True):
    """The answer of ``POST /predict`` to one record: an ``Answer``, the model and the request's id."""

    model: ModelName
    request_id: str


def encode_answer(answer: Answer, model: ModelName, request_id: str) -> bytes:
    """The body of the answer to one record."""
    return msgspec.json.encode(Prediction(answer.prediction, answer.probabilities, model=model, request_id=request_id))


def answers_of(found: Predictions, classes: tuple[str, ...]) -> list[Answer]:
    """One answer per row; ``classes`` are names in the order of the probabilities, and empty for a regression."""
    probabilities = found.probabilities
    if not classes:
        return [Answer(float(value)) for value in found.values]
    if probabilities is None:
        return [Answer(value) for value in found.values]
    if found.given is None and len(probabilities) <= FEW:
        return [_decided(row, found.classes, classes) for row in probabilities.tolist()]
    shown = found.shown.tolist()
    return [Answer(label, dict(zip(classes, row, strict=True))) for label, row in zip(found.values, shown, strict=True)]


def _decided(probabilities: list[float], labels: tuple[Label, ...], classes: tuple[str, ...]) -> Answer:
    """One row's answer, equal to that of numpy's arithmetic for a table, without numpy's overhead."""
    whole = [round(value * SCALE) for value in probabilities]
    label = labels[whole.index(max(whole))]
    return Answer(label, dict(zip(classes, [value / SCALE for value in whole], strict=True)))
