from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from src.core.retrain_record import new_id
from src.training.check_rows import DataReport
from src.training.mlflow_run import cause_tags, log_cause, log_data, log_report, request_ids_tag, run_link
from src.training.sources import DataFile
from tests.support.training import config


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
    """Takes the place of MLflow's calls and keeps what they are given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: dict[str, list[Any]] = {}
        for name in ("log_input", "log_metrics", "log_dict", "log_artifact", "log_params", "set_tags"):
            monkeypatch.setattr(mlflow, name, partial(self._call, name))

    def _call(self, name: str, *given: Any, **named: Any) -> None:
        self.calls.setdefault(name, []).append((*given, *named.values()))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return Recorder(monkeypatch)


SIGNED = "https://example.com/rows.csv?signature=s3cret"


def test_both_parts_of_the_data_set_are_the_run_s_inputs(recorder: Recorder) -> None:
    frame = pd.DataFrame({"sepal_length": [1.0, 2.0], "species": ["a", "b"]})
    log_data(frame, frame.iloc[:1], config(dataset={"source": SIGNED}).dataset, "0123456789abcdef" * 4)
    found = [(dataset.name, dataset.digest, context) for dataset, context in recorder.calls["log_input"]]
    digest = "0123456789abcdef" * 2
    assert found == [
        ("https://example.com/rows.csv training", digest, "training"),
        ("https://example.com/rows.csv holdout", digest, "holdout"),
    ]
    assert [dataset.profile["num_rows"] for dataset, _ in recorder.calls["log_input"]] == [2, 1]
    assert recorder.calls["log_input"][0][0].targets == "species"


REPORT = DataReport(
    source="incoming",
    files=[DataFile(name="a.csv", rows=60), DataFile(name="b.csv", rows=40)],
    rows=90,
    invalid_rows=8,
    dropped_rows=7,
    duplicate_rows=3,
    problems=["x: missing: 8 rows (a.csv 1, …)"],
)


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


def test_source_s_signature_is_not_logged(recorder: Recorder) -> None:
    log_cause(config(dataset={"source": SIGNED, "invalid_rows": {"policy": "drop"}}), "abc", [], {})
    ((params,),) = recorder.calls["log_params"]
    assert params["dataset.source"] == "https://example.com/rows.csv"
    assert params["dataset.invalid_rows"] == "drop"
    assert "s3cret" not in str(recorder.calls)
