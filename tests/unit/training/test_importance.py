"""Permutation importance: bounded, after the verdict, and without failing a promoted run."""

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.predictions import Predictions
from src.training import importance
from src.training.importance import permutation_importance, rank_columns
from src.training.registry import FetchedModel
from src.training.scoring import Metric, metrics_of
from tests.support.training import config

TARGET = "label"


class FirstColumn:
    """Predicts its first column and counts the rows."""

    name = "onnx"
    classes: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.answered = 0

    def predict(self, table: FeatureTable) -> Predictions:
        self.answered += len(table)
        return Predictions(np.asarray(table.columns[0], dtype=np.float64).tolist())


def model(*names: str) -> tuple[FetchedModel, FirstColumn]:
    engine = FirstColumn()
    return FetchedModel("7", FeatureSchema.of_numbers(*names), engine), engine


def rows(count: int, *names: str) -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({name: random.normal(size=count) for name in names})
    return frame.assign(**{TARGET: frame[names[0]]})


def settings(**gate: Any) -> Any:
    dataset = {
        "target": TARGET,
        "features": {"x": {"type": "number"}, "y": {"type": "number"}},
        "classes": None,
        "min_rows_per_class": None,
        "target_range": {"minimum": -100.0, "maximum": 100.0},
    }
    return config(dataset=dataset, gate={"metric": "r2", "floor": 0.0} | gate)


R2 = metrics_of(settings(), {})["r2"]


def test_importance_is_the_score_that_shuffling_a_column_loses() -> None:
    found = permutation_importance(model("x", "y")[0], rows(500, "x", "y"), TARGET, (), R2)
    # Numbers shuffled against themselves leave an R² of about -1 out of 1.
    assert found["x"] == pytest.approx(2, abs=0.2)
    assert found["y"] == pytest.approx(0)
    again = permutation_importance(model("x", "y")[0], rows(500, "x", "y"), TARGET, (), R2)
    assert again == found


def test_importance_by_a_metric_of_which_less_is_better_is_what_it_gains() -> None:
    def error(truth: Any, values: Any, _: Any, weight: Any) -> float:
        return float(np.average(np.abs(truth - values), weights=weight))

    metric = Metric("error", error, greater_is_better=False)
    found = permutation_importance(model("x", "y")[0], rows(500, "x", "y"), TARGET, (), metric)
    assert found["x"] == pytest.approx(2 / np.sqrt(np.pi), abs=0.1)
    assert found["y"] == 0


@pytest.mark.parametrize(
    ("count", "columns", "answered"),
    [
        (100, 2, 100 + 2 * 5 * 100),
        (5000, 2, 2000 + 2 * 5 * 2000),
        (5000, 100, 400 + 100 * 5 * 400),  # no more than 200,000 in all, and the first look
    ],
)
def test_importance_answers_a_bounded_number_of_rows(count: int, columns: int, answered: int) -> None:
    names = [f"x{place}" for place in range(columns)]
    fetched, engine = model(*names)
    found = permutation_importance(fetched, rows(count, *names), TARGET, (), R2)
    assert engine.answered == answered
    assert list(found) == names


def test_importance_shuffles_no_fewer_than_fifty_rows_of_a_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance, "MAX_ANSWERS", 100)
    fetched, engine = model("x", "y")
    permutation_importance(fetched, rows(500, "x", "y"), TARGET, (), R2)
    assert engine.answered == 50 + 2 * 5 * 50


class Always:
    """Gives each row the same probabilities."""

    name = "onnx"
    classes = ("a", "c")

    def predict(self, table: FeatureTable) -> Predictions:
        return Predictions(probabilities=np.tile([0.25, 0.75], (len(table), 1)), classes=self.classes)


def test_metric_gets_one_shuffle_at_a_time_and_all_classes_of_the_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[tuple[Any, ...]] = set()

    def count(truth: Any, _: Any, probabilities: Any, __: Any) -> float:
        seen.update(map(tuple, probabilities))
        return float(len(truth))

    recorded: list[Any] = []
    monkeypatch.setattr(importance, "log_importance", lambda found, _: recorded.append(found))
    classes = {"classes": ["c", "b", "a"], "min_rows_per_class": 2, "target_range": None}
    changed = settings(metric="count")
    changed = changed.model_copy(update={"dataset": changed.dataset.model_copy(update=classes)})
    fetched = FetchedModel("7", FeatureSchema.of_numbers("x", "y"), Always())
    registry: Any = SimpleNamespace(fetch=lambda _: fetched)
    rank_columns(registry, "7", rows(60, "x", "y").assign(label="a"), changed, {"count": Metric("count", count)})
    assert recorded == [{"x": 0.0, "y": 0.0}]
    assert seen == {(0.25, 0.0, 0.75)}


def test_importance_samples_the_rows_evenly_and_leaves_the_holdout_as_it_is() -> None:
    frame = rows(5000, "x", "y")
    before = frame.copy()
    seen: list[float] = []

    def note(truth: Any, *_: Any) -> float:
        seen.extend(truth.tolist())
        return 0.5

    permutation_importance(model("x", "y")[0], frame, TARGET, (), Metric("note", note))
    pd.testing.assert_frame_equal(frame, before)
    first = np.array(seen[:2000])
    assert len(set(seen)) == 2000
    assert np.isin(first, frame[TARGET].to_numpy()[2500:]).mean() == pytest.approx(0.5, abs=0.05)


class FakeRegistry:
    def fetch(self, version: str) -> FetchedModel:
        assert version == "7"
        return model("x", "y")[0]


def test_ranked_columns_are_recorded_by_the_gate_s_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[tuple[list[str], str]] = []
    monkeypatch.setattr(importance, "log_importance", lambda found, name: recorded.append((list(found), name)))
    rank_columns(FakeRegistry(), "7", rows(100, "x", "y"), settings(), {})  # type: ignore[arg-type]
    own = {"mine": Metric("mine", lambda *_: 0.5)}
    rank_columns(FakeRegistry(), "7", rows(100, "x", "y"), settings(metric="mine"), own)  # type: ignore[arg-type]
    assert recorded == [(["x", "y"], "r2"), (["x", "y"], "mine")]


def test_failure_is_logged_only(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(importance, "log_importance", refuse)
    with caplog.at_level(logging.WARNING):
        rank_columns(FakeRegistry(), "7", rows(100, "x", "y"), settings(), {})  # type: ignore[arg-type]
    (record,) = caplog.records
    assert record.getMessage() == "the feature importance was not recorded: the disk is full"
    assert record.exc_info is not None
