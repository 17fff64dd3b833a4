import csv
import io
import json
from typing import Any

import numpy as np
import pytest

from src.core.predictions import Predictions
from src.serving.protocols.encoders import CsvEncoder, Encoder, JsonEncoder, NdjsonEncoder
from src.serving.tables.answers import ModelName

CLASSES = ('a "quoted", one', "b")
PROBABILITIES = np.array([[0.25, 0.75], [0.999999999, 0.000000001], [0.123456789, 0.876543211]], dtype=np.float32)


class Model:
    """As much of a predictor as an encoder asks."""

    model_name = ModelName("iris", "7")

    def __init__(self, *classes: str) -> None:
        self.classes = classes


def written(encoder_class: type[Encoder], model: Model, *parts: Predictions) -> str:
    encoder = encoder_class(model, "id-1")  # type: ignore[arg-type] # the part of it that is used
    pieces = [encoder.start(), *(encoder.part(part) for part in parts), encoder.end()]
    return b"".join(pieces).decode()


@pytest.fixture
def parts() -> list[Predictions]:
    return [Predictions(None, PROBABILITIES[:2], CLASSES), Predictions(None, PROBABILITIES[2:], CLASSES)]


ANSWERS: list[dict[str, Any]] = [
    {"prediction": "b", "probabilities": {CLASSES[0]: 0.25, "b": 0.75}},
    {"prediction": CLASSES[0], "probabilities": {CLASSES[0]: 1.0, "b": 0.0}},
    {"prediction": "b", "probabilities": {CLASSES[0]: 0.12346, "b": 0.87654}},
]


def test_json_names_model_and_request(parts: list[Predictions]) -> None:
    told = json.loads(written(JsonEncoder, Model(*CLASSES), *parts))
    assert told == {"predictions": ANSWERS, "model": {"name": "iris", "version": "7"}, "request_id": "id-1"}


def test_ndjson_is_an_answer_a_line(parts: list[Predictions]) -> None:
    assert [json.loads(line) for line in written(NdjsonEncoder, Model(*CLASSES), *parts).splitlines()] == ANSWERS


def test_csv_has_a_column_for_each_class(parts: list[Predictions]) -> None:
    rows = list(csv.reader(io.StringIO(written(CsvEncoder, Model(*CLASSES), *parts))))
    assert rows[0] == ["prediction", *(f"probability_{name}" for name in CLASSES)]
    assert [(row[0], *map(float, row[1:])) for row in rows[1:]] == [
        (answer["prediction"], *answer["probabilities"].values()) for answer in ANSWERS
    ]


@pytest.mark.parametrize(
    ("encoder_class", "expected"),
    [
        (
            JsonEncoder,
            '{"predictions":[{"prediction":1.5},{"prediction":-2.0}],"model":{"name":"iris","version":"7"},"request_id":"id-1"}',
        ),
        (NdjsonEncoder, '{"prediction":1.5}\n{"prediction":-2.0}\n'),
        (CsvEncoder, "prediction\n1.5\n-2.0\n"),
    ],
)
def test_a_regression_has_no_probabilities(encoder_class: type[Encoder], expected: str) -> None:
    assert written(encoder_class, Model(), Predictions([1.5]), Predictions([-2.0])) == expected


def test_labels_without_probabilities() -> None:
    found = Predictions(["b", CLASSES[0]])
    assert written(CsvEncoder, Model(*CLASSES), found) == 'prediction\nb\n"a ""quoted"", one"\n'
    assert json.loads(written(JsonEncoder, Model(*CLASSES), found))["predictions"][0] == {"prediction": "b"}


KEPT = {"id": [7, None], 'a "b", c': ["x\ny", True]}


def test_kept_columns_stand_in_a_member_of_each_json_answer(parts: list[Predictions]) -> None:
    for encoder_class, split in ((JsonEncoder, None), (NdjsonEncoder, "\n")):
        encoder = encoder_class(Model(*CLASSES), "id-1", {})  # type: ignore[arg-type] # the part of it that is used
        text = (encoder.start() + encoder.part(parts[0], KEPT) + encoder.end()).decode()
        told = json.loads(text)["predictions"] if split is None else [json.loads(line) for line in text.splitlines()]
        assert told == [
            {**ANSWERS[0], "extra_columns": {"id": 7, 'a "b", c': "x\ny"}},
            {**ANSWERS[1], "extra_columns": {"id": None, 'a "b", c': True}},
        ]


def test_kept_columns_stand_before_the_prediction_in_csv(parts: list[Predictions]) -> None:
    encoder = CsvEncoder(Model(*CLASSES), "id-1", {})  # type: ignore[arg-type] # the part of it that is used
    text = encoder.part(parts[0], KEPT) + encoder.part(parts[1], {"id": [9], 'a "b", c': [[1, {}]]})
    rows = list(csv.reader(io.StringIO(text.decode())))
    assert rows[0] == ["id", 'a "b", c', "prediction", *(f"probability_{name}" for name in CLASSES)]
    assert [row[:3] for row in rows[1:]] == [["7", "x\ny", "b"], ["", "true", CLASSES[0]], ["9", "[1,{}]", "b"]]
