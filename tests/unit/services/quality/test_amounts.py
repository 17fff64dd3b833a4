"""Requests for trainings by the amount of new rows and labels, with real files and a real spool."""

import logging
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from src.core.audit_log import AuditLog
from src.core.errors import ConfigError, DataError, LoopError, SpoolFullError
from src.core.new_data import read_new_data
from src.core.quality_settings import QualitySettings
from src.core.retrain_record import Outcome, RetrainRecord, RetrainResult
from src.core.retrain_signal import RetrainSpool
from src.core.training_baseline import TrainingBaseline, write_baseline
from src.quality.ingest_labels import LabelRules, ingest_feedback
from src.quality.stores import label_store
from src.services.quality import amounts
from src.services.quality.amounts import AmountRequests
from src.services.quality.metrics import QualityMetrics
from src.services.quality.run_quality import build_service
from tests.support.configuration import CONFIG_FILE
from tests.support.quality_arrivals import write_feedback

TRAINED = datetime(2026, 11, 29, 12, tzinfo=UTC)
NOW = TRAINED + timedelta(hours=1)


class World:
    """A source with 100 rows that version 7 was trained on, and a spool."""

    def __init__(self, settings: QualitySettings) -> None:
        text = CONFIG_FILE.read_text(encoding="utf-8")
        self.folder = settings.data_dir / "incoming"
        self.folder.mkdir()
        config = settings.data_dir / "pipeline.yaml"
        config.write_text(text.replace("source: iris", f"source: {self.folder}"), encoding="utf-8")
        assert str(self.folder) in config.read_text(encoding="utf-8")
        self.settings = settings.model_copy(
            update={"pipeline_config": config, "retrain_min_new_rows": 10, "retrain_min_new_labels": 3}
        )
        self.spool = RetrainSpool(settings.retrain_dir).create()
        self.put("a.csv", 100)
        self.received = 0
        self.restart()

    def restart(self) -> None:
        self.requests_of = AmountRequests(self.settings, self.spool)

    def put(self, name: str, rows: int) -> None:
        path = self.folder / name
        path.write_text("x\n" + "1\n" * rows)
        os.utime(path, (TRAINED.timestamp(),) * 2)

    def train(self, version: str = "7", at: datetime = TRAINED, model: str = "iris") -> None:
        """A training that has read what is there."""
        rows = {str(path): path.read_text().count("\n") - 1 for path in self.folder.iterdir()}
        write_baseline(self.spool.root, TrainingBaseline(model=model, version=version, started_at=at, rows=rows))

    def receive(self, labels: int, at: datetime = NOW) -> None:
        names = [f"id-{self.received + number}" for number in range(labels)]
        self.received += labels
        write_feedback(self.settings.quality_dir, dict.fromkeys(names, "setosa"), at)
        store = label_store(self.settings.quality_dir, "iris")
        with store.locked():
            ingest_feedback(store, self.settings.quality_dir / "feedback", LabelRules())

    def step(self) -> list[str]:
        return [text for task in self.requests_of.tasks() for text in task.run(NOW)]

    def end(self, outcome: Outcome) -> None:
        """What waits is claimed and ends."""
        result = RetrainResult(outcome=outcome, reason="because", finished_at=NOW)
        for record in self.spool.claim():
            self.spool.finish(record, result)

    @property
    def requests(self) -> list[RetrainRecord]:
        return self.spool.recent(100)

    @property
    def causes(self) -> list[str | None]:
        """Oldest first."""
        return [record.cause for record in reversed(self.requests)]


@pytest.fixture
def world(settings: QualitySettings) -> World:
    world = World(settings)
    world.train()
    return world


# -- thresholds ------------------------------------------------------------------------------------------


def test_training_is_requested_at_the_threshold_of_rows_and_not_before(world: World) -> None:
    world.put("b.csv", 9)
    assert world.step() == []
    assert world.requests == []
    world.put("b.csv", 10)
    world.step()
    (request,) = world.requests
    assert (request.source, request.cause) == ("schedule", "10 new rows since version 7")


def test_training_is_requested_at_the_threshold_of_labels_and_not_before(world: World) -> None:
    world.receive(5, at=TRAINED - timedelta(seconds=1))
    world.receive(2)
    world.step()
    assert world.requests == []
    world.receive(1)
    world.step()
    (request,) = world.requests
    assert (request.source, request.cause) == ("schedule", "3 new labels since version 7")


def test_large_numbers_have_separators(world: World) -> None:
    world.put("b.csv", 1204)
    world.step()
    assert world.causes == ["1,204 new rows since version 7"]


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, ["counting new rows", "counting new labels"]),
        ({"retrain_min_new_rows": 0}, ["counting new labels"]),
        ({"retrain_min_new_labels": 0}, ["counting new rows"]),
        ({"prediction_log": False}, ["counting new rows"]),
    ],
)
def test_only_what_has_a_threshold_is_counted(world: World, changes: dict[str, object], names: list[str]) -> None:
    tasks = AmountRequests(world.settings.model_copy(update=changes), world.spool).tasks()
    assert [task.name for task in tasks] == names
    assert [task.every.total_seconds() for task in tasks if task.name == "counting new rows"] == [300] * (
        "counting new rows" in names
    )


def test_labels_that_are_not_taken_in_are_reported(world: World, caplog: pytest.LogCaptureFixture) -> None:
    without = world.settings.model_copy(update={"prediction_log": False})
    AmountRequests(without.model_copy(update={"retrain_min_new_labels": 0}), world.spool).tasks()
    assert caplog.messages == []
    AmountRequests(without, world.spool).tasks()
    assert caplog.messages == [
        "RETRAIN_MIN_NEW_LABELS has no effect, because PREDICTION_LOG=false: no label is taken in"
    ]


# -- once for each amount ---------------------------------------------------------------------------------


def both(world: World) -> None:
    world.put("b.csv", 10)
    world.receive(3)


def test_nothing_is_requested_while_a_request_waits_or_runs(world: World) -> None:
    world.spool.submit("api")
    both(world)
    world.step()
    (record,) = world.spool.claim()
    world.step()
    world.spool.update(record.model_copy(update={"attempts": 1, "started_at": NOW}))
    world.step()
    assert len(world.requests) == 1


def test_rows_and_labels_together_request_one_training(world: World) -> None:
    both(world)
    world.step()
    world.step()
    assert world.causes == ["10 new rows since version 7"]


@pytest.mark.parametrize("outcome", [Outcome.PROMOTED, Outcome.REJECTED])
def test_training_with_a_verdict_counts_anew(world: World, outcome: Outcome) -> None:
    both(world)
    world.step()
    world.train("8", NOW + timedelta(minutes=1))
    world.end(outcome)
    for restarted in (False, True):
        if restarted:
            world.restart()
        world.step()
        assert len(world.requests) == 1
    world.put("c.csv", 9)
    world.step()
    assert len(world.requests) == 1
    world.put("c.csv", 10)
    world.step()
    assert world.causes == ["10 new rows since version 7", "10 new rows since version 8"]


@pytest.mark.parametrize("outcome", [Outcome.SKIPPED, Outcome.FAILED])
def test_request_that_changed_nothing_is_repeated_after_the_threshold_again(world: World, outcome: Outcome) -> None:
    world.put("b.csv", 12)
    world.step()
    world.end(outcome)
    for rows in (12, 21):
        world.put("b.csv", rows)
        for _ in range(2):
            world.step()
            world.restart()
    assert len(world.requests) == 1
    world.put("b.csv", 22)
    world.step()
    assert world.causes == ["12 new rows since version 7", "22 new rows since version 7"]


def test_rows_and_labels_have_thresholds_of_their_own(world: World) -> None:
    world.put("b.csv", 10)
    world.step()
    world.end(Outcome.SKIPPED)
    world.receive(3)
    world.step()
    world.end(Outcome.SKIPPED)
    for _ in range(2):
        world.step()
        world.restart()
    assert world.causes == ["10 new rows since version 7", "3 new labels since version 7"]


def test_amounts_that_were_requested_before_a_training_do_not_count_after_it(world: World) -> None:
    world.put("b.csv", 90)
    world.step()
    world.train("8", NOW)
    world.end(Outcome.PROMOTED)
    world.put("c.csv", 10)
    world.step()
    assert world.causes[1:] == ["10 new rows since version 8"]


# -- progress ----------------------------------------------------------------------------------------------


def progress(world: World) -> list[str]:
    return [str(amount) for amount in read_new_data(world.spool.root, "iris")]


def test_progress_towards_each_threshold_is_recorded(world: World) -> None:
    assert progress(world) == []
    world.step()
    assert progress(world) == ["0 of 10 new rows since version 7", "0 of 3 new labels since version 7"]
    world.put("b.csv", 9)
    world.receive(2)
    world.step()
    assert progress(world) == ["9 of 10 new rows since version 7", "2 of 3 new labels since version 7"]


def test_progress_after_a_request_counts_from_it_until_a_training_has_a_verdict(world: World) -> None:
    world.put("b.csv", 12)
    world.step()
    assert progress(world) == ["0 of 10 new rows since the last request"]
    world.end(Outcome.SKIPPED)
    world.put("b.csv", 15)
    world.step()
    assert progress(world)[0] == "3 of 10 new rows since the last request"
    world.put("b.csv", 11)
    world.step()
    assert progress(world)[0] == "0 of 10 new rows since the last request"
    world.train("8", NOW)
    world.step()
    assert progress(world) == ["0 of 10 new rows since version 8", "0 of 3 new labels since version 8"]


def test_what_is_no_longer_counted_has_no_progress(world: World) -> None:
    world.step()
    world.settings = world.settings.model_copy(update={"retrain_min_new_rows": 0})
    world.restart()
    world.step()
    assert progress(world) == ["0 of 3 new labels since version 7"]
    (world.spool.root / "last_training.json").unlink()
    world.step()
    assert progress(world) == []
    world.train()
    world.step()
    build_service(world.settings.model_copy(update={"retrain_min_new_labels": 0}), QualityMetrics(CollectorRegistry()))
    assert progress(world) == []


def test_unchanged_progress_is_not_written_again(world: World) -> None:
    world.step()
    file = world.spool.root / "new_data.json"
    before = file.stat().st_ino
    world.step()
    assert file.stat().st_ino == before
    world.put("b.csv", 1)
    world.step()
    assert file.stat().st_ino != before


# -- crashes and errors -----------------------------------------------------------------------------------


def fail(*_: object, **__: object) -> None:
    raise SpoolFullError("the volume is full")


def test_full_volume_causes_no_storm(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    both(world)
    monkeypatch.setattr(amounts, "replace_durably", fail)
    with pytest.raises(SpoolFullError):
        world.step()
    assert len(world.requests) == 1
    world.end(Outcome.FAILED)
    world.requests_of.consider_rows(NOW)
    assert len(world.requests) == 1


def test_killed_service_requests_at_most_once_more_and_only_what_changed_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put("b.csv", 10)
    with monkeypatch.context() as patch:
        patch.setattr(amounts, "replace_durably", lambda *_: None)
        world.step()
    world.restart()
    world.step()
    assert len(world.requests) == 1
    world.end(Outcome.SKIPPED)
    for _ in range(3):
        world.restart()
        world.step()
        world.end(Outcome.SKIPPED)
    assert len(world.requests) == 2


def test_damaged_record_of_requests_costs_one_more(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.put("b.csv", 10)
    (world.spool.root / "amounts.json").write_text("{")
    world.step()
    assert len(world.requests) == 1
    assert "is damaged; what is new may be requested once more" in caplog.text


@pytest.mark.parametrize("model", ["wine", None])
def test_counting_begins_with_the_first_training_that_leaves_a_record(
    world: World, model: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    (world.spool.root / "last_training.json").unlink()
    if model is not None:
        world.train(model=model)
    both(world)
    told = [
        f"no training has recorded yet what it has read; new {kind} are counted from the next one on"
        for kind in ("rows", "labels")
    ]
    for _ in range(2):
        assert world.step() == told
    assert world.requests == []
    assert caplog.messages == [f"{text}: POST /retrain requests one" for text in told]


def test_damaged_baseline_is_an_error(world: World) -> None:
    (world.spool.root / "last_training.json").write_text("{")
    with pytest.raises(LoopError, match="is damaged"):
        world.step()


@pytest.mark.parametrize("name", ["rows", "labels"])
def test_source_that_cannot_be_counted_does_not_keep_labels_from_being_counted(world: World, name: str) -> None:
    world.requests_of = AmountRequests(world.settings.model_copy(update={"pipeline_config": CONFIG_FILE}), world.spool)
    world.receive(3)
    run: Callable[[datetime], Sequence[str]] = getattr(world.requests_of, f"consider_{name}")
    if name == "rows":
        with pytest.raises(DataError, match="the rows of iris cannot be counted"):
            run(NOW)
    else:
        run(NOW)
        assert world.causes == ["3 new labels since version 7"]


# -- in the service --------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction_log", [True, False])
def test_service_requests_trainings_with_and_without_the_prediction_log(world: World, *, prediction_log: bool) -> None:
    world.put("b.csv", 10)
    settings = world.settings.model_copy(update={"prediction_log": prediction_log})
    build_service(settings, QualityMetrics(CollectorRegistry())).step()
    assert world.causes == ["10 new rows since version 7"]
    (entry,) = AuditLog(settings.audit_file).recent(10).entries
    assert (entry.source, entry.by, entry.reason) == ("schedule", "quality service", "10 new rows since version 7")


def test_service_without_a_threshold_leaves_the_spool_alone(settings: QualitySettings) -> None:
    build_service(settings, QualityMetrics(CollectorRegistry())).step()
    assert not settings.retrain_dir.exists()


def test_service_creates_the_spool_and_reports_a_folder_that_cannot_be_used(
    settings: QualitySettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    wanted = settings.model_copy(update={"retrain_min_new_labels": 3})
    build_service(wanted, QualityMetrics(CollectorRegistry()))
    assert (settings.retrain_dir / "new").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="DATA_DIR"):
        build_service(
            wanted.model_copy(update={"data_dir": tmp_path / "file", "prediction_log": False}),
            QualityMetrics(CollectorRegistry()),
        )
