"""`make check-data` finds what would stop a training, without one."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from sklearn.ensemble import RandomForestClassifier
from sklearn.preprocessing import FunctionTransformer

from src.core.errors import ConnectionFailedError
from src.pipeline import data_preprocess, train_model
from src.services.local import check_data
from src.services.local.check_data import main
from src.training.scoring import Metric
from tests.support.configuration import CONFIG_FILE
from tests.support.labelled_log import LabelledLog, columns_of
from tests.support.training import config


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the check on the tests' configuration with some keys replaced; returns exit code, output and errors."""

    def check(**sections: dict[str, Any]) -> tuple[int, str, list[str]]:
        raw = yaml.safe_load(CONFIG_FILE.read_text(encoding="utf-8"))
        changed = {name: value | sections.get(name, {}) for name, value in raw.items()}
        file = tmp_path / "pipeline.yaml"
        file.write_text(yaml.safe_dump(changed, sort_keys=False), encoding="utf-8")
        monkeypatch.setenv("PIPELINE_CONFIG", str(file))
        monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
        code = main()
        printed = capsys.readouterr()
        return code, printed.out, printed.err.splitlines()

    return check


def test_sound_data_are_described_and_nothing_is_written(run: Any, tmp_path: Path) -> None:
    code, printed, errors = run()
    assert (code, errors) == (0, [])
    lines = printed.splitlines()
    assert lines[0].split() == ["column", "type", "distinct", "values"]
    assert lines[1].split() == ["sepal_length", "number", "35", "4.3", "to", "7.9"]
    assert lines[5].startswith("species       target  3         'setosa' 33.3 %")
    assert lines[7] == "149 rows from iris; 1 repeated row left out"
    assert lines[8] == "classes: setosa 50 (33.6 %), versicolor 50 (33.6 %), virginica 49 (32.9 %)"
    assert lines[9].startswith("split: ")
    assert "rows are held out by hash of all features: " in lines[9]
    assert lines[9].endswith("; a retrain keeps the champion's rule, if there is one (split.inherit)")
    assert lines[10:12] == ["metrics: f1_macro, accuracy, neg_log_loss", "estimator: random_forest"]
    assert [line[:26] for line in lines[12:]] == [
        "warning: without dataset.i",
        "warning: the holdout has 1",
        "warning: one wrong answer ",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipeline.yaml"]


def test_labelled_rows_are_checked_too_and_their_share_is_shown(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = LabelledLog(tmp_path / "data" / "quality", columns_of(config().dataset.feature_schema), now=datetime.now(UTC))
    log.add("r", (5.1, 3.5, 1.4, 0.3), "virginica")
    log.add("s", (5.1, 3.5, 1.4, 0.3), "rose")
    code, printed, errors = run(dataset={"feedback": {"use": True}})
    assert (code, errors) == (0, [])
    assert printed.splitlines()[7] == (
        "149 rows from iris; 1 repeated row left out; 1 labelled live row (0.7% of all); live rows left out: 1 invalid"
    )
    assert "classes: setosa 50 (33.3 %), versicolor 50 (33.3 %), virginica 50 (33.3 %)" in printed.splitlines()
    monkeypatch.setenv("INFERENCE_HOST", "0.0.0.0")  # noqa: S104 - nothing is bound
    code, _, (error,) = run(dataset={"feedback": {"use": True}})
    assert (code, error.startswith("error: dataset.feedback.use is on, and inference listens on 0.0.0.0")) == (2, True)


def test_estimator_of_your_own_needs_the_group_pyfunc(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_model, "Own", RandomForestClassifier, raising=False)
    code, printed, errors = run(model={"estimator": "train_model:Own"})
    assert (code, errors) == (0, [])
    assert "with Docker set INFERENCE_EXTRA_GROUPS=pyfunc in .env" in printed


@pytest.mark.parametrize(
    ("dataset", "by"), [({"id": ["petal_length"]}, "hash"), ({"time": "petal_length"}, "time")], ids=["id", "by time"]
)
def test_rows_that_an_id_or_a_time_splits_need_no_warning_of_other_values(
    run: Any, dataset: dict[str, Any], by: str
) -> None:
    _, printed, _ = run(dataset=dataset, split={"by": by})
    assert "without dataset.id" not in printed


def test_invalid_cells_are_in_the_table_and_stop(run: Any) -> None:
    code, printed, errors = run(dataset={"classes": ["setosa", "versicolor", "rose"]})
    assert code == 2
    assert "not one of dataset.classes ('virginica'): 50" in printed
    (error,) = errors
    assert error.startswith("error: iris fails validation: species: not one of dataset.classes ('virginica'): 50 rows")
    assert "metrics: f1_macro" in printed


def test_every_error_is_reported_at_once(run: Any) -> None:
    code, printed, errors = run(
        dataset={"min_rows_per_class": 51}, gate={"metric": "f1_makro"}, model={"params": {"n_estimator": 3}}
    )
    assert code == 2
    assert [error.partition(": ")[2][:30] for error in errors] == [
        "iris fails validation: fewer t",
        errors[1].partition(": ")[2][:30],
        errors[2].partition(": ")[2][:30],
    ]
    assert "f1_makro" in errors[1]
    assert "n_estimator" in errors[2]
    assert "split:" not in printed


def test_rule_that_is_not_inherited_is_the_one_of_every_training(run: Any) -> None:
    _, printed, _ = run(split={"inherit": False})
    assert "rows are held out by hash of all features: " in printed
    assert "split.inherit" not in printed


def test_holdout_that_cannot_be_made_stops(run: Any) -> None:
    code, _, errors = run(split={"holdout_fraction": 0.001})
    assert code == 2
    assert errors[0].startswith("error: the data set cannot be split")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"dataset": {"source": "absent.csv"}}, "absent.csv cannot be read"),
        ({"dataset": {"sorce": "iris"}}, "did you mean 'source'"),
    ],
)
def test_source_that_cannot_be_read_stops(run: Any, changes: dict[str, Any], problem: str) -> None:
    code, printed, errors = run(**changes)
    assert (code, printed) == (2, "")
    assert problem in errors[0]


def test_server_that_does_not_answer_can_be_tried_again(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ConnectionFailedError("the database does not answer")

    monkeypatch.setattr(check_data, "read", fail)
    code, _, errors = run()
    assert (code, errors) == (1, ["error: the database does not answer"])


def test_own_cleaning_and_metrics_are_used(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Metric("own", lambda *_: 1.0)
    monkeypatch.setattr(check_data, "METRICS", {"own": own})
    monkeypatch.setattr(check_data, "clean", lambda frame: data_preprocess.clean(frame)[:-1])
    code, printed, _ = run(gate={"metric": "own"})
    assert code == 0
    assert "metrics: own, accuracy" in printed
    assert "148 rows from iris" in printed


def test_broken_transformer_stops(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(rows: Any) -> Any:
        return rows["petal_lenght"]

    monkeypatch.setattr(train_model, "transformers", lambda _: [("own", FunctionTransformer(broken))])
    code, printed, (error,) = run()
    assert code == 2
    assert "the step 'own' (FunctionTransformer) fails on 104 training rows: KeyError: 'petal_lenght'" in error
    assert "metrics: f1_macro" in printed
    assert "estimator:" not in printed


def test_transformers_get_the_learned_categories(run: Any) -> None:
    _, printed, errors = run(dataset={"features": {"sepal_length": {"type": "category"}, "petal_width": {}}})
    assert errors == []
    assert "estimator: random_forest" in printed
