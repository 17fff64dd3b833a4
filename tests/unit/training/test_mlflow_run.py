from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from src.core.dataset_config import FEEDBACK_TIME
from src.core.retrain_record import new_id
from src.training import mlflow_run
from src.training.answers import Answers
from src.training.comparison import Baseline, Comparison, Difference, SliceScore
from src.training.data_report import DataReport
from src.training.evaluate_model import Evaluation
from src.training.mlflow_run import (
    cause_tags,
    log_cause,
    log_data,
    log_estimator,
    log_evaluation,
    log_importance,
    log_live_rows,
    log_report,
    log_search,
    request_ids_tag,
    run_link,
)
from src.training.sources import DataFile
from tests.support.training import config, iris_package


def test_request_ids_tag_joins_them_with_commas() -> None:
    assert cause_tags("abc", ["1", "2"]) == {"data.sha256": "abc", "retrain.request_ids": "1,2"}


def test_request_ids_tag_holds_only_whole_ids_within_mlflow_s_limit() -> None:
    ids = [new_id() for _ in range(1000)]
    tag = request_ids_tag(ids)
    assert tag.split(",") == ids[: len(tag.split(","))]
    assert 4900 < len(tag) <= 5000


def test_run_link_is_the_page_of_mlflow_s_ui() -> None:
    assert run_link("http://localhost:5000", "3", "abc") == "http://localhost:5000/#/experiments/3/runs/abc"


class Recorder:
    """Replaces MLflow's functions and records their arguments."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: dict[str, list[Any]] = {}
        for name in ("log_input", "log_metrics", "log_dict", "log_artifact", "log_params", "set_tags"):
            monkeypatch.setattr(mlflow, name, partial(self._call, name))

    def _call(self, name: str, *given: Any, **named: Any) -> None:
        self.calls.setdefault(name, []).append((*given, *named.values()))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return Recorder(monkeypatch)


QUERIED = "https://example.com/rows.csv?view=s3cret"


REPORT = DataReport(
    source="incoming",
    files=[DataFile(name="a.csv", rows=60), DataFile(name="b.csv", rows=40)],
    rows=90,
    invalid_rows=8,
    dropped_rows=7,
    duplicate_rows=3,
    problems=["x: missing: 8 rows (a.csv 1, …)"],
)


def test_both_parts_of_the_data_set_are_the_run_s_inputs(recorder: Recorder) -> None:
    frame = pd.DataFrame({"sepal_length": [1.0, 2.0], "species": ["a", "b"]})
    log_data(frame, frame.iloc[:1], "species", REPORT, "0123456789abcdef" * 4)
    found = [(dataset.name, dataset.digest, context) for dataset, context in recorder.calls["log_input"]]
    digest = "0123456789abcdef" * 2
    assert found == [("incoming training", digest, "training"), ("incoming holdout", digest, "holdout")]
    assert [dataset.profile["num_rows"] for dataset, _ in recorder.calls["log_input"]] == [2, 1]
    first = recorder.calls["log_input"][0][0]
    assert first.targets == "species"
    assert first.source.to_dict()["tags"] == {"source": "incoming", "rows": "90", "a.csv": "60", "b.csv": "40"}


def test_whole_numbers_are_logged_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    schemas = []
    log_input = SimpleNamespace(log_input=lambda dataset, context: schemas.append((dataset.schema, context)))
    monkeypatch.setattr(mlflow_run, "mlflow", log_input)
    frame = pd.DataFrame({"visits": [1, 2], "species": ["a", "b"]})
    log_data(frame, frame, "species", REPORT, "d")
    # A warning would be an error here, for which MLflow answers without a schema.
    assert [(schema is None, context) for schema, context in schemas] == [(False, "training"), (False, "holdout")]


def test_source_of_very_many_files_is_bounded(recorder: Recorder) -> None:
    frame = pd.DataFrame({"species": ["a"]})
    report = REPORT.model_copy(update={"files": [DataFile(name=f"{index}.csv", rows=1) for index in range(300)]})
    log_data(frame, frame, "species", report, "d")
    assert len(recorder.calls["log_input"][0][0].source.to_dict()["tags"]) == 202


def test_files_and_counts_of_the_data_set_are_logged_with_the_list_of_invalid_cells(
    recorder: Recorder, tmp_path: Path
) -> None:
    log_report(REPORT, tmp_path / "invalid.csv")
    assert recorder.calls["log_metrics"] == [
        (
            {
                "data_rows": 90.0,
                "data_files": 2.0,
                "data_invalid_rows": 8.0,
                "data_dropped_rows": 7.0,
                "data_duplicate_rows": 3.0,
            },
        )
    ]
    ((logged, name),) = recorder.calls["log_dict"]
    assert (DataReport.model_validate(logged), name) == (REPORT, "data_report.json")
    assert recorder.calls["log_artifact"] == [(str(tmp_path / "invalid.csv"),)]


def test_no_list_is_logged_where_every_row_is_valid(recorder: Recorder, tmp_path: Path) -> None:
    log_report(REPORT.model_copy(update={"invalid_rows": 0}), tmp_path / "invalid.csv")
    assert "log_artifact" not in recorder.calls


def test_labelled_rows_and_their_settings_are_logged_where_they_are_used(recorder: Recorder, tmp_path: Path) -> None:
    used = REPORT.model_copy(update={"live_rows": 9, "live_left_out": {"invalid": 2, "repeated": 3}})
    log_report(used, tmp_path / "invalid.csv")
    ((metrics,),) = recorder.calls["log_metrics"]
    found = {name: value for name, value in metrics.items() if name.startswith("data_live_")}
    assert found == {"data_live_rows": 9.0, "data_live_left_out": 5.0, "data_live_share": 0.1}
    log_cause(config(dataset={"feedback": {"use": True, "max_age_days": 30.0}}), "abc", [], {})
    log_cause(config(), "abc", [], {})
    (on,), (off,) = recorder.calls["log_params"]
    assert {name: value for name, value in on.items() if name not in off} == {
        "dataset.feedback.max_age_days": 30.0,
        "dataset.feedback.weight": 1.0,
    }


def test_query_of_a_source_s_address_is_not_logged(recorder: Recorder) -> None:
    log_cause(config(dataset={"source": QUERIED, "invalid_rows": {"policy": "drop"}}), "abc", [], {})
    ((params,),) = recorder.calls["log_params"]
    assert params["dataset.source"] == "https://example.com/rows.csv"
    assert params["dataset.invalid_rows"] == "drop"
    assert "s3cret" not in str(recorder.calls)


def test_weight_and_number_of_live_rows_are_logged_where_they_are_learned_from(recorder: Recorder) -> None:
    log_cause(config(dataset={"feedback": {"use": True, "weight": 2.5, "max_age_days": 30.0}}), "abc", [], {})
    ((params,),) = recorder.calls["log_params"]
    found = {name: value for name, value in params.items() if "feedback" in name}
    assert found == {"dataset.feedback.weight": 2.5, "dataset.feedback.max_age_days": 30.0}
    train, holdout = (pd.DataFrame({FEEDBACK_TIME: times}) for times in ([np.nan, 1.0, 2.0], [3.0, np.nan]))
    assert log_live_rows(train, holdout) == {"live_train_rows": 2, "live_holdout_rows": 1}
    assert recorder.calls["log_metrics"] == [({"data_live_train_rows": 2.0, "data_live_holdout_rows": 1.0},)]


def test_nothing_is_logged_of_live_rows_without_feedback(recorder: Recorder) -> None:
    log_cause(config(dataset={"feedback": {"use": False, "weight": 2.5}}), "abc", [], {})
    assert "feedback" not in str(recorder.calls["log_params"])
    assert log_live_rows(pd.DataFrame({"x": [1]}), pd.DataFrame({"x": [2]})) == {}
    assert "log_metrics" not in recorder.calls


def difference(point: float, low: float = -0.5) -> Difference:
    return Difference(point=point, low=low, high=0.5, bound=-0.25)


COMPARISON = Comparison(
    challenger={"f1": 0.9, "accuracy": 0.95},
    champion={"f1": 0.8},
    champion_version="3",
    champion_difference=difference(0.1),
    best={"f1": 0.85},
    best_version="2",
    best_difference=difference(0.05, low=float("-inf")),
    baseline=Baseline(name="always 'a'", score=0.3, difference=difference(0.6)),
)
TRUTH = np.array(["a", "b"])
EVALUATION = Evaluation({}, Answers("5", ("a", "b"), TRUTH, TRUTH, np.eye(2)))


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is logged to MLflow, by the file's name; metrics under their own."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(mlflow, "log_metrics", found.update)
    for name in ("log_dict", "log_figure", "log_table"):
        monkeypatch.setattr(mlflow, name, lambda content, file: found.update({file: content}))
    return found


def test_evaluation_leaves_scores_and_the_ends_of_intervals_as_metrics(logged: dict[str, Any]) -> None:
    log_evaluation(EVALUATION, COMPARISON, "f1")
    metrics = {name: value for name, value in logged.items() if isinstance(value, float)}
    assert metrics == {
        "f1": 0.9,
        "accuracy": 0.95,
        "champion_f1": 0.8,
        "best_f1": 0.85,
        "baseline": 0.3,
        **{f"difference_champion_{end}": value for end, value in difference(0.1).model_dump().items()},
        "difference_best_point": 0.05,  # an end that is infinite is no metric
        "difference_best_high": 0.5,
        "difference_best_bound": -0.25,
        **{f"difference_baseline_{end}": value for end, value in difference(0.6).model_dump().items()},
    }
    assert isinstance(logged["confusion_matrix.png"], Figure)
    assert isinstance(logged["differences.png"], Figure)
    assert logged["classification_report.json"]["a"]["recall"] == 1.0
    assert "slices.json" not in logged


def test_evaluation_leaves_the_slices_as_a_table(logged: dict[str, Any]) -> None:
    found = SliceScore(column="region", value="south", rows=60, challenger=0.5, champion=0.75, p_value=0.01, worse=True)
    log_evaluation(EVALUATION, COMPARISON.model_copy(update={"slices": (found,), "skipped": 40}), "f1")
    assert logged["resamples_skipped"] == 40.0
    assert logged["slices.json"].to_dict("records") == [{**found.model_dump(), "difference": -0.25}]


def test_number_of_live_rows_is_a_metric_where_they_decide(logged: dict[str, Any]) -> None:
    log_evaluation(EVALUATION, COMPARISON.model_copy(update={"rows": 412}), "f1")
    assert "compared_live_rows" not in logged
    log_evaluation(EVALUATION, COMPARISON.model_copy(update={"rows": 412, "live_days": 90.0}), "f1")
    assert logged["compared_live_rows"] == 412.0


def test_evaluation_of_a_regression_without_rivals_leaves_its_scores(logged: dict[str, Any]) -> None:
    numbers = Evaluation({}, Answers("5", (), np.array([1.0, 2.0]), np.array([1.0, 2.5])))
    log_evaluation(numbers, Comparison(challenger={"r2": 0.5}), "r2")
    assert set(logged) == {"r2", "predictions.png"}


def test_importance_is_left_as_numbers_and_as_a_picture(logged: dict[str, Any]) -> None:
    log_importance({"x": 0.25, "y": 0.0}, "f1")
    assert logged["feature_importance.json"] == {"x": 0.25, "y": 0.0}
    assert logged["feature_importance.png"].axes[0].get_xlabel().startswith("f1 lost")


def test_estimator_is_recorded_with_every_parameter_but_the_cores(recorder: Recorder) -> None:
    log_estimator(iris_package().model)
    ((params,),) = recorder.calls["log_params"]
    assert (params["estimator"], params["estimator.n_estimators"]) == ("RandomForestClassifier", 10)
    assert (params["estimator.criterion"], params["estimator.random_state"]) == ("gini", 42)
    assert "estimator.n_jobs" not in params


def test_search_is_recorded_as_a_table_and_a_picture(logged: dict[str, Any]) -> None:
    table = pd.DataFrame({"max_depth": [4, 2], "score": [0.9, 0.7], "deviation": [0.01, 0.1], "rows": [9, 9]})
    log_search(table)
    assert logged["search.json"]["score"].tolist() == [0.9, 0.7]
    assert logged["search.json"]["max_depth"].tolist() == ["4", "2"]
    labels = logged["search.png"].axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == ["max_depth 2", "max_depth 4"]
    assert table["max_depth"].iloc[0] == 4
