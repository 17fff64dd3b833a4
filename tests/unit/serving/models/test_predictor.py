import json
from pathlib import Path
from typing import Any

import pytest

from src.core.errors import InvalidModelError
from src.serving.models.model_loader import load_predictor
from src.serving.models.model_version import ModelVersion
from src.serving.models.predictor import Predictor
from tests.support.models import CLASSES, COLUMNS, build_model, forest


def load(directory: Path, digest: str) -> Predictor:
    return load_predictor(directory, ModelVersion(name="iris", version="1", manifest_sha256=digest), "cache")


def test_predictor_answers_as_sklearn_does(models: Any) -> None:
    predictor = load(*models["first"])
    _, rows, probabilities = forest(1)
    for row, expected in zip(rows, probabilities, strict=True):
        (answer,) = predictor.answer([tuple(row)])
        told, label = dict(answer.probabilities or {}), answer.prediction
        assert list(told.values()) == pytest.approx(expected, abs=1e-5)
        assert list(told) == list(CLASSES)
        assert label == CLASSES[expected.index(max(expected))]


def test_predictor_knows_columns_classes_and_an_example(models: Any) -> None:
    predictor = load(*models["first"])
    assert predictor.schema.names == COLUMNS
    assert predictor.classes == CLASSES
    assert predictor.example == dict(zip(COLUMNS, forest(1)[1][0], strict=True))


def test_predictor_shows_the_places_that_decide_the_label(models: Any) -> None:
    predictor = load(*models["first"])
    for row in forest(1)[1]:
        assert all(
            len(repr(value)) <= 7 for value in dict(predictor.answer([tuple(row)])[0].probabilities or {}).values()
        )


@pytest.mark.parametrize(
    "mlmodel",
    [
        {"signature": {"inputs": json.dumps([{"name": "a", "type": "string"}])}},
        {"metadata": {"classes": []}},
        {"metadata": {"classes": [1, 2, 3]}},
        {"metadata": {"classes": ["a", "a", "b"]}},
        {"metadata": {"classes": ["setosa", "virginica", "versicolor"]}},
        {"metadata": {"classes": ["setosa", "versicolor"]}},
        {"metadata": {"classes": [*CLASSES, "fourth"]}},
        {"signature": {"inputs": json.dumps([{"name": name, "type": "double"} for name in COLUMNS[:3]])}},
        {"signature": {"inputs": json.dumps([{"name": name, "type": "double"} for name in (*COLUMNS, "fifth")])}},
    ],
)
def test_model_that_does_not_fit_its_description_is_refused(tmp_path: Path, mlmodel: dict[str, Any]) -> None:
    digest = build_model(tmp_path / "model", mlmodel=mlmodel)
    with pytest.raises(InvalidModelError):
        load(tmp_path / "model", digest)


def test_model_whose_answers_changed_is_refused(models: Any) -> None:
    with pytest.raises(InvalidModelError, match="golden rows"):
        load(*models["liar"])


def test_model_that_is_not_what_was_registered_is_refused(models: Any) -> None:
    with pytest.raises(InvalidModelError, match="manifest"):
        load(models["first"][0], models["second"][1])
