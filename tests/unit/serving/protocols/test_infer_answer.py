import dataclasses
import json
import math
import struct
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.predictions import Predictions
from src.serving.models.model_version import ModelVersion
from src.serving.models.predictor import Cost, Predictor
from src.serving.protocols.infer_answer import encode_infer, metadata_of
from src.serving.protocols.infer_request import InferMessage, InferRequest, OutputWish
from src.serving.tables.problems import InvalidRecordError
from src.serving.tables.records import RecordDecoder

SCHEMA = FeatureSchema.of_numbers("height")
TABLE = FeatureTable.from_rows(SCHEMA, [(1.0,), (2.0,)])
CLASSES = ("elm", "oak 'ü', old")


class FakeEngine:
    """Is only asked for its name and classes."""

    platform = "mlflow_pyfunc"
    gives_probabilities = True

    def __init__(self, labels: tuple[Any, ...]) -> None:
        self.labels = labels
        self.classes = tuple(map(str, labels))

    def predict(self, table: FeatureTable) -> Predictions:
        raise AssertionError(f"asked about {len(table)} rows")


def predictor(*labels: Any) -> Predictor:
    return Predictor(
        version=ModelVersion(name="trees", version="7", manifest_sha256="0" * 64),
        schema=SCHEMA,
        engine=FakeEngine(labels),
        engine_reason="a test",
        decoder=RecordDecoder(SCHEMA),
        example={"height": 1.0},
        reference=None,
        source="registry",
        loaded_at=datetime.now(UTC),
        cost=Cost(0, 0),
    )


REGRESSION = predictor()
CLASSIFIER = predictor(*CLASSES)


def request(*, asked: bool = False, **outputs: bool) -> InferRequest:
    wishes = [OutputWish(name) for name in outputs] if asked else None
    return InferRequest(InferMessage([], outputs=wishes), TABLE, outputs, {})


def encoded(model: Predictor, found: Predictions, wanted: InferRequest) -> tuple[list[dict[str, Any]], bytes]:
    body, length = encode_infer(model, found, wanted, "abc")
    told = json.loads(body[:length])
    assert (told["model_name"], told["model_version"], told["id"]) == ("trees", "7", "abc")
    return told["outputs"], body[length:] if length is not None else b""


def test_regression_has_one_output_of_doubles() -> None:
    assert [(item.name, item.datatype, item.shape) for item in metadata_of(REGRESSION).outputs] == [
        ("predict", "FP64", [-1, 1])
    ]
    found = Predictions([1.5, -2.0])
    (output,), _ = encoded(REGRESSION, found, request(predict=False))
    assert output == {"name": "predict", "datatype": "FP64", "shape": [2, 1], "data": [1.5, -2.0]}
    (output,), data = encoded(REGRESSION, found, request(predict=True))
    assert output["parameters"] == {"binary_data_size": 16}
    assert struct.unpack("<2d", data) == (1.5, -2.0)


@pytest.mark.parametrize(
    ("labels", "datatype", "content"),
    [
        ((3, 2**40), "INT64", struct.pack("<2q", 2**40, 3)),
        ((False, True), "BOOL", b"\1\0"),
        ((0.5, 1.0), "FP64", struct.pack("<2d", 1.0, 0.5)),
    ],
)
def test_labels_have_their_own_datatype(labels: tuple[Any, ...], datatype: str, content: bytes) -> None:
    model, found = predictor(*labels), Predictions([labels[1], labels[0]])
    assert [item.datatype for item in metadata_of(model).outputs] == [datatype, "FP64"]
    (output,), _ = encoded(model, found, request(predict=False))
    assert (output["datatype"], output["data"]) == (datatype, [labels[1], labels[0]])
    assert {type(value) for value in output["data"]} == {type(labels[0])}
    _, data = encoded(model, found, request(predict=True))
    assert data == content


def test_classes_are_reported_in_the_order_of_the_probabilities() -> None:
    shares = np.array([[0.25, 0.75], [0.9999999, 1e-7]], dtype=np.float32)
    found = Predictions(None, shares, CLASSES)
    outputs, data = encoded(CLASSIFIER, found, request(predict=True, predict_proba=False))
    words = b"".join(struct.pack("<I", len(word.encode())) + word.encode() for word in (CLASSES[1], CLASSES[0]))
    assert data == words
    # As /predict rounds them.
    assert outputs[1]["data"] == [0.25, 0.75, 1.0, 0.0]
    parameters = metadata_of(CLASSIFIER).outputs[1].parameters
    assert isinstance(parameters, dict)
    assert json.loads(str(parameters["classes"])) == list(CLASSES)


def test_binary_data_follow_in_the_order_of_the_outputs() -> None:
    found = Predictions(None, np.array([[1.0, 0.0]]), CLASSES)
    outputs, data = encoded(CLASSIFIER, found, request(predict_proba=True, predict=True))
    assert [item["name"] for item in outputs] == ["predict_proba", "predict"]
    assert [item["parameters"]["binary_data_size"] for item in outputs] == [16, 7]
    assert data == struct.pack("<2d", 1, 0) + b"\3\0\0\0elm"


def test_output_that_the_model_lacks_is_left_out_unless_it_is_asked_for() -> None:
    bare = dataclasses.replace(CLASSIFIER, gives_probabilities=False)
    assert [item.name for item in metadata_of(bare).outputs] == ["predict"]
    found = Predictions(["elm", "elm"])
    outputs, _ = encoded(CLASSIFIER, found, request(predict=False, predict_proba=False))
    assert [item["name"] for item in outputs] == ["predict"]
    with pytest.raises(InvalidRecordError, match="no output predict_proba"):
        encoded(CLASSIFIER, found, request(asked=True, predict_proba=False))


def test_number_that_is_none_is_no_failure() -> None:
    (output,), _ = encoded(REGRESSION, Predictions([math.nan, 1.0]), request(predict=False))
    assert output["data"] == [None, 1.0]
