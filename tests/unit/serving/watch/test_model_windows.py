"""All windows of a model share the chance of a false alarm."""

from types import SimpleNamespace
from typing import Any

import pytest

from src.core.feature_schema import FeatureSchema
from src.core.model_registry import DriftReference
from src.serving.watch import model_windows
from src.serving.watch.drift import Drift
from src.serving.watch.model_windows import NO_DRIFT, DriftReport, ModelWindows

REFERENCE = DriftReference(
    rows=1000,
    edges={"x": [1.0], "y": [1.0]},
    shares={"x": [0.5, 0.5], "y": [0.5, 0.5]},
    minimum={"x": 0.0, "y": 0.0},
    maximum={"x": 2.0, "y": 2.0},
    class_shares={"a": 0.5, "b": 0.5},
)


def windows_of(classes: tuple[str, ...], reference: DriftReference | None = REFERENCE) -> ModelWindows:
    predictor: Any = SimpleNamespace(schema=FeatureSchema.of_numbers("x", "y", "z"), classes=classes)
    predictor.reference = reference
    return ModelWindows(predictor, 300)


@pytest.mark.parametrize(("classes", "tests"), [((), 2), (("a", "b"), 3)])
def test_each_feature_and_the_predictions_are_one_test(
    classes: tuple[str, ...], tests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def verdict(_: object, count: int) -> Drift:
        asked.append(count)
        return NO_DRIFT

    monkeypatch.setattr(model_windows, "Drift", SimpleNamespace(of=verdict))
    report = windows_of(classes).report()
    assert asked == [tests] * tests
    assert list(report.features) == ["x", "y"]


def test_a_model_without_a_reference_has_nothing_to_compare() -> None:
    assert windows_of(("a", "b"), None).report() == DriftReport(0, {}, NO_DRIFT)
