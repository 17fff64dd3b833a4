"""The shapes of the answers to ``/predict``; requests have the shape that the model's signature gives them."""

import msgspec
from msgspec import UNSET, UnsetType

from src.core.predictions import SCALE, Predictions

# So many rows are rounded one by one in less time than numpy needs to begin.
FEW = 6


class ModelName(msgspec.Struct, frozen=True):
    """Which model answered."""

    name: str
    version: str


class Answer(msgspec.Struct, frozen=True):
    """What a model says of one record.

    ``prediction`` is the class's name, or a number for a regression; ``probabilities`` are in [0, 1] and sum to 1
    up to rounding, and are absent where the model has none.
    """

    prediction: str | float
    probabilities: dict[str, float] | UnsetType = UNSET


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of ``POST /predict`` to one record: what ``Answer`` has, and who gave it."""

    prediction: str | float
    probabilities: dict[str, float] | UnsetType = UNSET
    model: ModelName
    request_id: str


def encode_answer(answer: Answer, model: ModelName, request_id: str) -> bytes:
    """The body of the answer to one record."""
    return msgspec.json.encode(
        Prediction(prediction=answer.prediction, probabilities=answer.probabilities, model=model, request_id=request_id)
    )


def answers_of(found: Predictions, classes: tuple[str, ...]) -> list[Answer]:
    """One answer per row; ``classes`` are in the order of the probabilities, and empty for a regression.

    Probabilities are shown to the places that decide the label: a float32 graph's further ones are noise, such as
    0.999999 for 1.
    """
    probabilities = found.probabilities
    if not classes:
        return [Answer(float(value)) for value in found.values]
    if probabilities is None:
        return [Answer(str(value)) for value in found.values]
    if found.given is None and len(probabilities) <= FEW:
        return [_decided(row, classes) for row in probabilities.tolist()]
    shown = found.shown.tolist()
    return [
        Answer(str(label), dict(zip(classes, row, strict=True))) for label, row in zip(found.values, shown, strict=True)
    ]


def _decided(probabilities: list[float], classes: tuple[str, ...]) -> Answer:
    """One row's answer as numpy's arithmetic gives it for a table, without what that costs to begin with."""
    whole = [round(value * SCALE) for value in probabilities]
    label = classes[whole.index(max(whole))]
    return Answer(label, dict(zip(classes, [value / SCALE for value in whole], strict=True)))


def values_of(found: Predictions, classes: tuple[str, ...]) -> list[str | float]:
    """The bare predictions: classes' names, or a regression's numbers."""
    if classes and found.given is not None:
        return [str(value) for value in found.given]
    return list(found.values)
