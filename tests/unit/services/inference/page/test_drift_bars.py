from typing import Any

import pytest

from src.services.inference.page.drift_bars import MAX_IN_TABLE, TABLES, drift_view
from src.serving.models.model_loader import load_predictor
from src.serving.models.model_version import ModelVersion
from src.serving.models.predictor import Predictor
from src.serving.watch.drift import Drift
from src.serving.watch.model_windows import NO_DRIFT, DriftReport


@pytest.fixture(scope="module")
def predictor(models: Any) -> Predictor:
    directory, digest = models["first"]
    return load_predictor(directory, ModelVersion(name="iris", version="1", manifest_sha256=digest), "cache")


def test_bars_are_as_long_as_the_score_and_named_by_the_verdict(predictor: Predictor) -> None:
    found = {
        "calm": Drift(0.049, drifted=False),
        "large": Drift(0.05, drifted=False),
        "gone": Drift(0.05, drifted=True),
        "far": Drift(3.0, drifted=True),
    }
    view = drift_view(predictor, DriftReport(300, found, Drift(0.0, drifted=False)), 300)
    assert [(bar.label, bar.shown, bar.length, bar.level) for bar in view.bars] == [
        ("calm", "0.049", 9.8, "stable"),
        ("large", "0.050", 10.0, "watch"),
        ("gone", "0.050", 10.0, "drifted"),
        ("far", "3.000", 100.0, "drifted"),
        ("predicted classes", "0.000", 0.0, "stable"),
    ]
    assert view.marks == (10.0,)
    assert view.summary == "The newest 300 rows (at most 300) against the training rows: drifted: gone, far."


def test_without_drift_the_summary_says_so(predictor: Predictor) -> None:
    calm = Drift(0.01, drifted=False)
    assert drift_view(predictor, DriftReport(200, {"a": calm}, calm), 300).summary.endswith("training rows: no drift.")


def test_too_few_rows_are_counted_up_to_enough(predictor: Predictor) -> None:
    view = drift_view(predictor, DriftReport(199, {"a": NO_DRIFT}, NO_DRIFT), 300)
    assert view.summary.startswith("199 of 200 rows so far")
    assert {(bar.shown, bar.length, bar.level) for bar in view.bars} == {("—", 0.0, "waiting")}


def test_without_a_model_or_its_reference_there_are_no_bars(predictor: Predictor) -> None:
    nothing = DriftReport(0, {}, NO_DRIFT)
    assert "No model" in drift_view(None, nothing, 300).summary
    view = drift_view(predictor, nothing, 300)
    assert ("no reference" in view.summary, view.bars) == (True, [])


@pytest.mark.parametrize(("features", "tables"), [(4, 1), (MAX_IN_TABLE - 1, 1), (MAX_IN_TABLE, TABLES)])
def test_many_bars_stand_in_several_tables(predictor: Predictor, features: int, tables: int) -> None:
    calm = Drift(0.01, drifted=False)
    report = DriftReport(200, {str(number): calm for number in range(features)}, calm)
    assert drift_view(predictor, report, 300).tables == tables
