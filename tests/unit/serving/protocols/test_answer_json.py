"""Many rows' answers are, byte for byte, what each row's own is."""

import math

import msgspec
import numpy as np
import pytest

from src.core.predictions import Predictions
from src.serving.protocols.answer_json import encode_answers
from src.serving.tables.answers import answers_of

CLASSES = ("100 %b", 'a "quoted", one')
PROBABILITIES = np.array([[0.25, 0.75], [0.999999999, 0.000000001], [0.00002, 0.99998]], dtype=np.float32)


@pytest.mark.parametrize(
    ("found", "classes"),
    [
        (Predictions(None, PROBABILITIES, CLASSES), CLASSES),
        (Predictions([*CLASSES, "neither"], PROBABILITIES), CLASSES),
        (Predictions(CLASSES), CLASSES),
        (Predictions(None, PROBABILITIES, (3, 4)), ("3", "4")),
        (Predictions([True, False, True], PROBABILITIES), ("False", "True")),
        (Predictions([1.5, -2, 1e300, 1e-7, math.nan]), ()),
    ],
    ids=["probabilities", "labels and probabilities", "labels", "integers", "booleans", "numbers"],
)
@pytest.mark.parametrize("between", [b",", b"\n"])
def test_answers_are_those_to_single_rows(found: Predictions, classes: tuple[str, ...], between: bytes) -> None:
    alone = [msgspec.json.encode(answer) for answer in answers_of(found, classes)]
    assert encode_answers(found, classes, between, {}) == between.join(alone)


def test_labels_keep_their_type_and_their_classes_a_name() -> None:
    found = Predictions(None, PROBABILITIES[:1], (3, 4))
    assert encode_answers(found, ("3", "4"), b",", {}) == b'{"prediction":4,"probabilities":{"3":0.25,"4":0.75}}'
    assert encode_answers(Predictions([True]), ("False", "True"), b",", {}) == b'{"prediction":true}'
