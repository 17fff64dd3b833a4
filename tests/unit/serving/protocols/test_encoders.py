import csv
import io
import json
import math
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from src.core.predictions import Predictions
from src.serving.protocols.encoders import ENCODERS
from src.serving.tables.answers import ModelName, answers_of
from src.serving.tables.parts import Format

CLASSES = ('a "quoted", 100 %b', "b")
PROBABILITIES = np.array([[0.25, 0.75], [0.999999999, 0.000000001], [0.00002, 0.99998]], dtype=np.float32)
PARTS = [Predictions(None, PROBABILITIES[:2], CLASSES), Predictions(None, PROBABILITIES[2:], CLASSES)]
SOURCE = '"model":{"name":"iris","version":"7"},"request_id":"id-1"}'


class Model:
    """As much of a predictor as an encoder asks."""

    model_name = ModelName("iris", "7")
    engine = SimpleNamespace(labels=())

    def __init__(self, *classes: str) -> None:
        self.classes = classes


def written(form: Format, classes: tuple[str, ...], *parts: Predictions, kept: Any = None) -> str:
    encoder = ENCODERS[form](Model(*classes), "id-1")
    columns = kept or [{}] * len(parts)
    pieces = [encoder.part(part, some) for part, some in zip(parts, columns, strict=True)]
    return b"".join([*pieces, encoder.end()]).decode()


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
def test_json_answers_are_byte_for_byte_those_to_single_rows(found: Predictions, classes: tuple[str, ...]) -> None:
    alone = [msgspec.json.encode(answer).decode() for answer in answers_of(found, classes)]
    assert written(Format.JSON, classes, found) == f'{{"predictions":[{",".join(alone)}],{SOURCE}'
    assert written(Format.NDJSON, classes, found) == "".join(f"{answer}\n" for answer in alone)


def test_parts_are_written_as_one() -> None:
    whole = Predictions(None, PROBABILITIES, CLASSES)
    for form in (Format.JSON, Format.NDJSON, Format.CSV):
        assert written(form, CLASSES, *PARTS) == written(form, CLASSES, whole)


def test_csv_has_a_column_for_each_class() -> None:
    rows = list(csv.reader(io.StringIO(written(Format.CSV, CLASSES, *PARTS))))
    assert rows == [
        ["prediction", *(f"probability_{name}" for name in CLASSES)],
        ["b", "0.25", "0.75"],
        [CLASSES[0], "1.0", "0.0"],
        ["b", "0.00002", "0.99998"],
    ]


@pytest.mark.parametrize(
    ("classes", "values", "expected"),
    [
        ((), [1.5, -2.0], "prediction\n1.5\n-2.0\n"),
        (CLASSES, ["b", CLASSES[0]], 'prediction\nb\n"a ""quoted"", 100 %b"\n'),
    ],
    ids=["numbers", "labels"],
)
def test_csv_without_probabilities(classes: tuple[str, ...], values: list[Any], expected: str) -> None:
    assert written(Format.CSV, classes, Predictions(values)) == expected


KEPT = [{"id": [7, None], 'a "b", c': ["x\ny", True]}, {"id": [9], 'a "b", c': [[1, {}]]}]


def test_kept_columns_stand_in_a_member_of_each_json_answer() -> None:
    told = json.loads(written(Format.JSON, CLASSES, *PARTS, kept=KEPT))["predictions"]
    assert [item["extra_columns"] for item in told] == [
        {"id": 7, 'a "b", c': "x\ny"},
        {"id": None, 'a "b", c': True},
        {"id": 9, 'a "b", c': [1, {}]},
    ]
    lines = written(Format.NDJSON, CLASSES, *PARTS, kept=KEPT).splitlines()
    assert [json.loads(line) for line in lines] == told
    plain = json.loads(written(Format.JSON, CLASSES, *PARTS))["predictions"]
    assert [{**item, "extra_columns": row["extra_columns"]} for item, row in zip(plain, told, strict=True)] == told


def test_kept_columns_stand_before_the_prediction_in_csv() -> None:
    rows = list(csv.reader(io.StringIO(written(Format.CSV, CLASSES, *PARTS, kept=KEPT))))
    assert [row[:3] for row in rows] == [
        ["id", 'a "b", c', "prediction"],
        ["7", "x\ny", "b"],
        ["", "true", CLASSES[0]],
        ["9", "[1,{}]", "b"],
    ]
