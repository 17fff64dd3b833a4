"""The steps' own logic; the integration tests run the whole steps."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from src.core.audit_log import AuditLog, Event
from src.core.calibration import Calibration, calibration_file, read_calibration
from src.core.dataset_config import DatasetConfig
from src.core.errors import ConfigError
from src.core.own_code import OWN_FOLDER
from src.core.retrain_record import Outcome, Step
from src.core.retrain_signal import RetrainSpool
from src.core.rollouts import Rollouts
from src.pipeline import data_preprocess
from src.pipeline import pipeline as steps
from src.training import step_context
from src.training.answers import Answers
from src.training.comparison import Comparison
from src.training.data_report import DataReport
from src.training.evaluate_model import Evaluation
from src.training.fingerprint import fingerprint_of
from src.training.gate import Candidate
from src.training.learned_columns import learn_columns
from src.training.served_requests import ServedRequests
from src.training.shared_files import SharedFiles
from src.training.splitting import SplitRule, split_rows, with_sketch
from tests.support.training import PERFECT, config, iris_rule, iris_split

CANDIDATE = Candidate(model_version="5", mlflow_run_id="run", fingerprint="f")
UNCALIBRATED = Evaluation({}, Answers("5", (), np.array([]), np.array([])))


class FakeRegistry:
    """A registry without a champion that records changes."""

    name = "iris"

    def __init__(self) -> None:
        self.aliases: dict[str, str] = {}

    def version_of(self, alias: str) -> None:
        assert alias not in self.aliases

    def tag(self, version: str, tags: dict[str, str]) -> None:
        assert version == CANDIDATE.model_version
        assert tags

    def set_alias(self, alias: str, version: str) -> None:
        self.aliases[alias] = version

    def fetch(self, version: str) -> None:
        assert (version, self.aliases) == ("5", {"best": "5", "champion": "5"})
        raise RuntimeError("the registry is away")


class Followed:
    """A retrain request that a training serves."""

    def __init__(self, folder: Path) -> None:
        self._spool = RetrainSpool(folder / "retrain").create()
        request_id = self._spool.submit("api").id
        (record,) = self._spool.claim()
        self._spool.update(record.model_copy(update={"attempts": 1, "started_at": datetime.now(UTC)}))
        self.served = ServedRequests(ids=[request_id], retrain_dir=str(self._spool.root))

    @property
    def step(self) -> Step | None:
        record = self._spool.get(self.served.ids[0])
        assert record is not None
        return record.step


def files_in(folder: Path) -> SharedFiles:
    return SharedFiles(
        alias_lock=folder / "aliases.lock",
        rollouts=folder / "rollouts",
        audit=folder / "audit.ndjson",
        calibration=folder / "calibration",
    )


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    return Followed(tmp_path)


def test_preprocessing_reads_the_environment_s_database_and_lists_what_it_drops(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, followed: Followed
) -> None:
    monkeypatch.setattr(step_context, "log_metadata", lambda _: None)
    url = f"sqlite:///{tmp_path / 'flowers.db'}"
    rows = data_preprocess.prepare(config().dataset).frame
    pd.concat([rows, rows.iloc[:1].assign(sepal_length=99.0)]).to_sql("flowers", url, index=False)
    monkeypatch.setenv("DATASET_URL", url)
    dataset = config(
        dataset={
            "source": "sql",
            "query": "SELECT * FROM flowers",
            "invalid_rows": {"policy": "drop", "max_share": 0.01},
        }
    ).dataset
    file = tmp_path / "iris_preprocessed.csv"
    frame, digest, report = steps.preprocess.entrypoint(dataset, str(file), followed.served)
    pd.testing.assert_frame_equal(frame, rows)
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (report.rows, report.dropped_rows) == (149, 1)
    listed = (tmp_path / "iris_invalid_rows.csv").read_text().splitlines()
    assert listed[1:] == ["sql,150,sepal_length,outside 0.1 to 20"]
    assert followed.step is Step.PREPROCESS


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"gate": {"metric": "f1_makro"}}, "unknown metric 'f1_makro'; did you mean 'f1_macro'"),
        ({"model": {"estimator": "random_tree"}}, "random_tree"),
    ],
)
def test_wrong_metric_or_estimator_stops_the_pipeline_before_its_first_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sections: dict[str, Any], reason: str
) -> None:
    def run(**_: object) -> None:
        pytest.fail("a step has run")

    monkeypatch.setattr(steps, "preprocess", run)
    served = ServedRequests(retrain_dir=str(tmp_path))
    with pytest.raises(ConfigError, match=reason):
        steps.training_pipeline.entrypoint(
            config(**sections), "iris.csv", "iris", "http://mlflow", served, files_in(tmp_path)
        )


class StopError(Exception):
    """Ends a step once what is tested has happened."""


def with_fake_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces what the training step needs of MLflow and ZenML before the fit."""
    run = SimpleNamespace(info=SimpleNamespace(experiment_id="1", run_id="2"))
    for name in ("MlflowClient", "log_metadata", "log_cause", "log_data", "log_report"):
        monkeypatch.setattr(steps, name, lambda *_: None)
    monkeypatch.setattr(steps, "active_run", lambda: run)
    monkeypatch.setattr(steps, "zenml_tags", lambda: {"zenml.run_id": "z"})


def test_training_fits_and_packages_with_what_is_learned_and_logs_what_was_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: dict[str, Any] = {}
    rows = data_preprocess.prepare(config().dataset).frame
    features = {name: {} for name in config().dataset.features}
    open_ended = config(dataset={"features": features}, gate={"minimums": {"accuracy": 0.5}})
    report = DataReport(source="iris", files=[], rows=149)

    def fit(train_rows: pd.DataFrame, _: object, dataset: DatasetConfig, study: object) -> str:
        seen["fit"], seen["study"] = (len(train_rows), dataset), study
        return "model"

    def build_package(*given: Any) -> SimpleNamespace:
        seen["package"] = given
        return SimpleNamespace(parity="passed")

    def log_package(package: SimpleNamespace, name: str, tags: dict[str, str]) -> None:
        seen["registered"] = (package.parity, name, tags)
        raise StopError

    with_fake_run(monkeypatch)
    monkeypatch.setattr(mlflow, "set_tag", lambda *_: None)
    monkeypatch.setattr(steps, "log_package", log_package)
    monkeypatch.setattr(steps, "log_estimator", lambda model: seen.update(estimator=model))
    monkeypatch.setattr(steps, "log_report", lambda *given: seen.update(report=given))
    monkeypatch.setattr(steps, "log_live_rows", lambda *parts: seen.update(live=[len(part) for part in parts]) or {})
    monkeypatch.setattr(steps.train_model, "fit", fit)
    monkeypatch.setattr(steps, "build_package", build_package)
    with pytest.raises(StopError):
        steps.train.entrypoint(
            rows.iloc[:100],
            rows.iloc[100:],
            iris_rule(),
            "d",
            report,
            str(tmp_path / "iris_preprocessed.csv"),
            open_ended,
            "iris",
            "http://mlflow",
            ServedRequests(ids=["a", "b"], retrain_dir=str(tmp_path)),
        )
    assert seen["fit"] == (100, learn_columns(rows.iloc[:100], open_ended.dataset))
    assert seen["fit"][1].features["sepal_length"].maximum == 7.0
    assert (seen["study"].by, seen["study"].metric.name) == ("hash", "f1_macro")
    assert {metric.name: limit for metric, limit in seen["study"].minimums.items()} == {"accuracy": 0.5}
    assert seen["study"].record is steps.log_search
    assert (seen["estimator"], seen["package"][0]) == ("model", "model")
    assert seen["package"][3] == seen["fit"][1]
    assert seen["live"] == [100, 49]
    assert seen["report"] == (report, tmp_path / "iris_invalid_rows.csv")
    assert seen["registered"][:2] == ("passed", "iris")
    assert seen["registered"][2] == {
        "training.fingerprint": fingerprint_of("d", open_ended, OWN_FOLDER),
        "onnx.parity": "passed",
        "data.sha256": "d",
        "retrain.request_ids": "a,b",
        "zenml.run_id": "z",
    }


def test_training_without_a_fingerprint_fails_before_the_fit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> str:
        raise ConfigError("cannot read uv.lock")

    with_fake_run(monkeypatch)
    monkeypatch.setattr(steps, "fingerprint_of", refuse)
    monkeypatch.setattr(steps.train_model, "fit", lambda *_: pytest.fail("a model was fitted"))
    rows, served = iris_split().frame, ServedRequests(retrain_dir=str(tmp_path))
    report = DataReport(source="iris", files=[], rows=149)
    with pytest.raises(ConfigError, match=r"cannot read uv\.lock"):
        steps.train.entrypoint(
            rows, rows, iris_rule(), "d", report, str(tmp_path / "x.csv"), config(), "iris", "http://mlflow", served
        )


@pytest.mark.parametrize(
    "inherited", [None, iris_rule().model_copy(update={"seed": 7})], ids=["none", "the champion's"]
)
def test_split_follows_the_champions_rule_and_returns_its_own(
    monkeypatch: pytest.MonkeyPatch, followed: Followed, inherited: SplitRule | None
) -> None:
    registry, notes = FakeRegistry(), {}
    asked: list[object] = []
    monkeypatch.setattr(step_context, "log_metadata", notes.update)
    monkeypatch.setattr(steps, "MlflowClient", lambda: None)
    monkeypatch.setattr(steps, "ModelRegistry", lambda *_: registry)
    monkeypatch.setattr(steps, "inherited_rule", lambda given: asked.append(given) or inherited)
    frame = iris_split().frame
    train_rows, holdout, rule = steps.split.entrypoint(frame, config(), "iris", followed.served)
    assert followed.step is Step.SPLIT
    expected = split_rows(frame, config(), inherited)
    assert expected.rule == (inherited or iris_rule())
    assert rule == with_sketch(expected.rule, frame)
    assert len(rule.sketch) > 100
    assert train_rows.equals(expected.train)
    assert holdout.equals(expected.holdout)
    assert asked == [registry]
    assert notes["split"] == str(rule)
    assert notes["split_note"] == expected.note
    assert notes["rows"] == {"train": len(train_rows), "holdout": len(holdout)}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"model": {"estimator": "random_forrest"}}, "did you mean 'random_forest'"),
        ({"model": {"max_deep": 3}}, "did you mean 'max_depth'"),
        ({"gate": {"metric": "f1_makro"}}, "unknown metric 'f1_makro'"),
    ],
)
def test_wrong_estimators_parameters_and_metrics_end_a_run_before_its_first_step(
    sections: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(steps, "preprocess", lambda **_: pytest.fail("a step ran"))
    served = ServedRequests(retrain_dir=str(tmp_path))
    with pytest.raises(ConfigError, match=message):
        steps.training_pipeline.entrypoint(
            config(**sections), "x.csv", "iris", "http://mlflow", served, files_in(tmp_path)
        )


@pytest.mark.parametrize("twin", ["3", None])
def test_evaluation_says_whether_the_version_repeats_one_that_was_rolled_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, followed: Followed, twin: str | None
) -> None:
    asked: list[tuple[object, str]] = []
    logged: list[Comparison] = []
    registry = FakeRegistry()

    def rolled_back_twin(given: object, fingerprint: str) -> str | None:
        asked.append((given, fingerprint))
        return twin

    monkeypatch.setattr(step_context, "log_metadata", lambda _: None)
    monkeypatch.setattr(steps, "MlflowClient", lambda: None)
    monkeypatch.setattr(steps, "ModelRegistry", lambda *_: registry)
    compared: list[tuple[Any, ...]] = []
    calibration = Calibration(rows=3, reason="few")
    result = (Evaluation({}, Answers("5", (), np.array([]), np.array([])), calibration), Comparison(challenger=PERFECT))
    monkeypatch.setattr(steps, "compare", lambda *given: compared.append(given) or result)
    monkeypatch.setattr(steps, "rolled_back_twin", rolled_back_twin)
    monkeypatch.setattr(steps, "log_evaluation", lambda _, comparison, __: logged.append(comparison))
    step = steps.evaluate_on_holdout.entrypoint
    files = files_in(tmp_path)
    comparison = step(CANDIDATE, iris_split().frame, iris_rule(), config(), "iris", files, followed.served)
    assert read_calibration(calibration_file(files.calibration, "iris", "5")) == calibration
    assert followed.step is Step.EVALUATE
    assert comparison == Comparison(challenger=PERFECT, repeats=twin)
    assert logged == [comparison]
    assert asked == [(registry, "f")]
    ((given, version, split, settings, own_metrics),) = compared
    assert (given, version, settings, own_metrics) == (registry, "5", config(), steps.METRICS)
    assert split.rule == iris_rule()
    assert split.holdout.equals(iris_split().holdout)


def test_run_whose_model_is_champion_does_not_fail_because_zenml_cannot_note_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, followed: Followed, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: dict[str, Any]) -> None:
        raise RuntimeError("the server is away")

    registry = FakeRegistry()
    monkeypatch.setattr(step_context, "log_metadata", refuse)
    monkeypatch.setattr(steps, "MlflowClient", lambda: None)
    monkeypatch.setattr(steps, "ModelRegistry", lambda *_: registry)
    monkeypatch.setattr(mlflow, "set_tags", lambda _: None)
    comparison = Comparison(challenger=PERFECT, champion=None, champion_version=None)
    files = files_in(tmp_path)
    verdict = steps.promote.entrypoint(CANDIDATE, comparison, pd.DataFrame(), config(), "iris", files, followed.served)
    assert followed.step is Step.PROMOTE
    assert verdict.outcome is Outcome.PROMOTED
    assert registry.aliases == {"best": "5", "champion": "5"}
    reported = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert reported == [
        "could not record mlflow_run_id, model_version in ZenML: the server is away",
        "the feature importance was not recorded: the registry is away",
        "could not record step_seconds in ZenML: the server is away",
    ]


def test_promotion_is_watched_with_the_champion_that_it_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, followed: Followed
) -> None:
    registry = FakeRegistry()
    monkeypatch.setattr(steps, "MlflowClient", lambda: None)
    monkeypatch.setattr(steps, "ModelRegistry", lambda *_: registry)
    monkeypatch.setattr(mlflow, "set_tags", lambda _: None)
    comparison = Comparison(challenger=PERFECT, champion=PERFECT, champion_version="3")
    files = files_in(tmp_path)
    verdict = steps.promote.entrypoint(CANDIDATE, comparison, pd.DataFrame(), config(), "iris", files, followed.served)
    watched = Rollouts(files.rollouts).watched(registry.name)
    assert watched is not None
    assert (watched.version, watched.previous) == ("5", "3")
    (entry,) = AuditLog(files.audit).recent(5).entries
    assert (entry.event, entry.model, entry.version, entry.previous) == (Event.PROMOTED, registry.name, "5", "3")
    assert (entry.by, entry.reason, entry.request_id) == ("gate", verdict.reason, followed.served.ids[0])


@pytest.mark.parametrize("live_days", [None, 30.0])
def test_evaluation_notes_which_rows_decide_and_importance_is_of_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, followed: Followed, live_days: float | None
) -> None:
    noted: dict[str, Any] = {}
    ranked: list[pd.DataFrame] = []
    learning = config(dataset={"feedback": {"use": True, "weight": 3.0}})
    comparison = Comparison(challenger=PERFECT, rows=400, live_days=live_days)
    monkeypatch.setattr(step_context, "log_metadata", noted.update)
    monkeypatch.setattr(steps, "MlflowClient", lambda: None)
    monkeypatch.setattr(steps, "ModelRegistry", lambda *_: FakeRegistry())
    monkeypatch.setattr(steps, "compare", lambda *_: (UNCALIBRATED, comparison))
    monkeypatch.setattr(steps, "rolled_back_twin", lambda *_: None)
    monkeypatch.setattr(steps, "log_evaluation", lambda *_: None)
    monkeypatch.setattr(mlflow, "set_tags", lambda _: None)
    monkeypatch.setattr(steps, "rank_columns", lambda _, __, rows, *___: ranked.append(rows))
    frame = iris_split().frame
    steps.evaluate_on_holdout.entrypoint(
        CANDIDATE, frame, iris_rule(), config(), "iris", files_in(tmp_path), followed.served
    )
    assert set(noted) == {"step_seconds"}
    steps.evaluate_on_holdout.entrypoint(
        CANDIDATE, frame, iris_rule(), learning, "iris", files_in(tmp_path), followed.served
    )
    assert {name: value for name, value in noted.items() if name != "step_seconds"} == {
        "rows": 400,
        "live_rows_only": live_days is not None,
        "live_row_weight": 3.0,
    }
    holdout = frame.assign(feedback_time=[*[None] * 100, *[20_000.0] * 49])
    steps.promote.entrypoint(CANDIDATE, comparison, holdout, learning, "iris", files_in(tmp_path), followed.served)
    assert [len(rows) for rows in ranked] == [149 if live_days is None else 49]
