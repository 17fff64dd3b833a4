import math
import re
from typing import Any

import pytest

from src.services.inference.model.model_loader import load_predictor
from src.services.inference.model.model_version import ModelVersion
from src.services.inference.model.predictor import Predictor
from src.services.inference.page.drift_bars import DRIFTED, drift_view
from src.services.inference.watch.live_traffic import DriftReport
from src.services.local.processes import REPOSITORY

NAN = math.nan


@pytest.fixture(scope="module")
def predictor(models: Any) -> Predictor:
    directory, digest = models["first"]
    return load_predictor(directory, ModelVersion(name="iris", version="1", manifest_sha256=digest), "cache")


def test_bars_are_as_long_as_the_index_and_named_by_its_marks(predictor: Predictor) -> None:
    scores = {"calm": 0.05, "at the mark": 0.1, "still": 0.25, "gone": 0.26, "far": 3.0}
    view = drift_view(predictor, DriftReport(300, scores, 0.0), 300)
    assert [(bar.label, bar.shown, bar.length, bar.level) for bar in view.bars] == [
        ("calm", "0.050", 10.0, "stable"),
        ("at the mark", "0.100", 20.0, "watch"),
        ("still", "0.250", 50.0, "watch"),
        ("gone", "0.260", 52.0, "drifted"),
        ("far", "3.000", 100.0, "drifted"),
        ("predicted classes", "0.000", 0.0, "stable"),
    ]
    assert view.marks == (20.0, 50.0)
    assert view.summary == "The newest 300 rows (at most 300) against those of training: drifted: gone, far."


def test_last_mark_is_where_the_alert_begins() -> None:
    alerts = (REPOSITORY / "config/alerts.yml").read_text(encoding="utf-8")
    # The features' and that of the predicted classes: all bars have one mark.
    assert re.findall(r"_drift_score\S* > ([\d.]+)", alerts) == [str(DRIFTED)] * 2


def test_without_drift_the_summary_says_so(predictor: Predictor) -> None:
    assert drift_view(predictor, DriftReport(200, {"a": 0.01}, 0.01), 300).summary.endswith("training: no drift.")


def test_too_few_rows_are_counted_up_to_enough(predictor: Predictor) -> None:
    view = drift_view(predictor, DriftReport(199, {"a": NAN}, NAN), 300)
    assert view.summary.startswith("199 of 200 rows so far")
    assert {(bar.shown, bar.length, bar.level) for bar in view.bars} == {("—", 0.0, "waiting")}


def test_without_a_model_or_its_reference_there_are_no_bars(predictor: Predictor) -> None:
    nothing = DriftReport(0, {}, NAN)
    assert "No model" in drift_view(None, nothing, 300).summary
    view = drift_view(predictor, nothing, 300)
    assert ("no reference" in view.summary, view.bars) == (True, [])
