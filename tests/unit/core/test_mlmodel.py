"""What an MLmodel's metadata add to the signature's columns."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from src.core.errors import InvalidModelError
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.mlmodel import columns_metadata, describe
from src.core.predictions import Threshold

INPUTS = [
    {"name": "region", "type": "string", "required": True},
    {"name": "since", "type": "double", "required": False},
    {"name": "size", "type": "double", "required": True},
    {"name": "note", "type": "string", "required": False},
]
SCHEMA = FeatureSchema(
    (
        Column("region", ColumnType.STRING, mlflow_type="string", values=("NA", "EU")),
        Column("since", ColumnType.DATE, required=False),
        Column("size"),
        Column("note", ColumnType.STRING, required=False, mlflow_type="string"),
    ),
    ids=("customer", "site"),
)


def described(directory: Path, metadata: Any) -> FeatureSchema:
    content = {"flavors": {"onnx": {}}, "signature": {"inputs": json.dumps(INPUTS)}, "metadata": metadata}
    (directory / "MLmodel").write_text(yaml.safe_dump(content))
    return describe(directory).schema


def test_metadata_name_only_what_the_signature_cannot_say() -> None:
    assert columns_metadata(SCHEMA) == {
        "customer": {"type": "id"},
        "site": {"type": "id"},
        "since": {"type": "date"},
        "region": {"values": ["NA", "EU"]},
    }


def test_what_was_written_reads_back(tmp_path: Path) -> None:
    assert described(tmp_path, {"column_rules": columns_metadata(SCHEMA)}) == SCHEMA


@pytest.mark.parametrize("metadata", [None, {}, {"classes": ["a", "b"]}, {"column_rules": None}, {"column_rules": {}}])
def test_model_without_them_has_the_signatures_columns(tmp_path: Path, metadata: Any) -> None:
    assert described(tmp_path, metadata) == FeatureSchema.from_signature(json.dumps(INPUTS))


@pytest.mark.parametrize(
    "rules",
    [
        {"region": {"type": "date"}},  # a text is no number of days
        {"size": {"values": ["1", "2"]}},
        {"size": {"type": "id"}},  # it is an input
        {"size": {"type": "colour"}},
        {"nowhere": {"values": ["a"]}},
    ],
)
def test_what_does_not_fit_the_signature_changes_nothing(tmp_path: Path, rules: Any) -> None:
    assert described(tmp_path, {"column_rules": rules}) == FeatureSchema.from_signature(json.dumps(INPUTS))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (["region"], "must be a mapping of columns"),
        ({"region": ["NA"]}, "must be a mapping of columns"),
        ({"region": {"values": "NA"}}, "values of region"),
        ({"region": {"values": ["NA", 1]}}, "values of region"),
    ],
)
def test_metadata_of_another_form_are_refused(tmp_path: Path, rules: Any, message: str) -> None:
    with pytest.raises(InvalidModelError, match=message):
        described(tmp_path, {"column_rules": rules})


def threshold_in(directory: Path, said: Any, classes: list[str]) -> Threshold | None:
    content = {
        "flavors": {"onnx": {}},
        "signature": {"inputs": json.dumps(INPUTS)},
        "metadata": {"classes": classes, "threshold": said},
    }
    (directory / "MLmodel").write_text(yaml.safe_dump(content))
    return describe(directory).threshold


def test_threshold_names_a_class_and_its_least_probability(tmp_path: Path) -> None:
    assert threshold_in(tmp_path, {"class": "yes", "probability": 0.3}, ["no", "yes"]) == Threshold(1, 0.3)
    assert threshold_in(tmp_path, {"class": "no", "probability": 0.9}, ["no", "yes"]) == Threshold(0, 0.9)
    assert threshold_in(tmp_path, None, ["no", "yes"]) is None


@pytest.mark.parametrize(
    ("said", "classes"),
    [
        ({"class": "maybe", "probability": 0.3}, ["no", "yes"]),
        ({"class": "yes", "probability": 0.3}, ["maybe", "no", "yes"]),
        ({"class": "yes", "probability": 0.3}, []),
        ({"class": "yes", "probability": 0.0}, ["no", "yes"]),
        ({"class": "yes", "probability": 1.0}, ["no", "yes"]),
        ({"class": "yes", "probability": float("nan")}, ["no", "yes"]),
        ({"class": "yes", "probability": "0.3"}, ["no", "yes"]),
        ({"class": "yes"}, ["no", "yes"]),
        (0.3, ["no", "yes"]),
    ],
)
def test_threshold_of_another_form_is_refused(tmp_path: Path, said: Any, classes: list[str]) -> None:
    with pytest.raises(InvalidModelError, match="threshold in MLmodel must name one of two classes"):
        threshold_in(tmp_path, said, classes)
