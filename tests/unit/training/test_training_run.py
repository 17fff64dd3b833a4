import logging
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from src.core.audit_log import AuditLog, Event
from src.core.errors import ConfigError, ConnectionFailedError, DataError, InvalidModelError, SpoolFullError
from src.core.exit_codes import ExitCode
from src.core.file_lock import is_locked
from src.core.pipeline_config import PipelineConfig
from src.core.retrain_record import MAX_TEXT, Outcome, RetrainRecord, RetrainResult, Source, State, Step
from src.core.retrain_signal import RetrainSpool
from src.core.training_baseline import TrainingBaseline, read_baseline
from src.core.training_settings import TrainSettings
from src.training import training_run
from src.training.gate import Verdict
from src.training.training_run import Tasks, Training, TrainingRun
from tests.support.configuration import CONFIG_FILE
from tests.support.training import VERDICT

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STEP_SECONDS = {Step.TRAIN: 1.5, Step.PROMOTE: 0.25}


class FakeTrain:
    """Returns a prepared verdict or error, and records the state of the spool."""

    def __init__(self, answer: Verdict | Exception, spool: RetrainSpool) -> None:
        self._answer = answer
        self._spool = spool
        self.calls: list[list[str]] = []
        self.states: list[State] = []

    def __call__(self, _: TrainSettings, config: PipelineConfig, request_ids: Sequence[str]) -> Training:
        assert config.dataset.source == "iris"
        self.calls.append(list(request_ids))
        self.states = [record.state for record in self._spool.claimed()]
        if isinstance(self._answer, Exception):
            raise self._answer
        return Training(self._answer, STEP_SECONDS, {"a.csv": 3})


class Case:
    """A spool with two claimed requests and one pending request."""

    def __init__(self, folder: Path) -> None:
        self.settings = TrainSettings(_env_file=None, data_dir=folder, pipeline_config=CONFIG_FILE)
        self.spool = RetrainSpool(self.settings.retrain_dir).create()
        self.ids = [self.spool.submit("api").id for _ in range(2)]
        for record in self.spool.claim():
            self.spool.update(record.model_copy(update={"attempts": 1, "started_at": NOW}))
        self.waiting = self.spool.submit("api").id

    def run(self, answer: Verdict | Exception, settings: TrainSettings | None = None) -> tuple[ExitCode, FakeTrain]:
        train = FakeTrain(answer, self.spool)
        return TrainingRun(settings or self.settings, Tasks(train), clock=lambda: NOW, patience=0.05).run(), train

    def records(self) -> list[RetrainRecord]:
        found = [self.spool.get(request_id) for request_id in self.ids]
        return [record for record in found if record is not None]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


@pytest.mark.parametrize("outcome", [Outcome.PROMOTED, Outcome.REJECTED])
def test_run_ends_every_claimed_request_with_the_verdict_and_no_other(
    case: Case, outcome: Outcome, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    verdict = VERDICT.model_copy(update={"outcome": outcome})
    code, train = case.run(verdict)
    assert code == 0
    assert train.calls == [case.ids]
    assert train.states == [State.RUNNING, State.RUNNING]  # nothing was acknowledged before the verdict
    assert [record.result for record in case.records()] == [verdict.to_result(NOW, STEP_SECONDS)] * 2
    assert case.spool.has_waiting()
    assert caplog.messages[-1] == f"{outcome}: version 4; good"


def test_run_without_requests_trains_all_the_same(tmp_path: Path) -> None:
    settings = TrainSettings(_env_file=None, data_dir=tmp_path / "new", pipeline_config=CONFIG_FILE)
    train = FakeTrain(VERDICT, RetrainSpool(settings.retrain_dir))
    assert TrainingRun(settings, Tasks(train)).run() == 0
    assert train.calls == [[]]


def test_run_that_is_not_needed_trains_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    settings = TrainSettings(_env_file=None, data_dir=tmp_path / "new", pipeline_config=CONFIG_FILE)
    train = FakeTrain(VERDICT, RetrainSpool(settings.retrain_dir))
    assert TrainingRun(settings, Tasks(train, is_needed=lambda: False)).run() == 0
    assert train.calls == []
    assert caplog.messages == ["nothing to do: iris has a champion, and no retrain request is pending"]


def test_run_for_claimed_requests_is_always_needed(case: Case) -> None:
    train = FakeTrain(VERDICT, case.spool)
    assert TrainingRun(case.settings, Tasks(train, is_needed=lambda: False)).run() == 0
    assert train.calls == [case.ids]


def test_run_fails_where_it_cannot_find_out_whether_it_is_needed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def is_needed() -> bool:
        raise ConnectionFailedError("MLflow is down")

    settings = TrainSettings(_env_file=None, data_dir=tmp_path / "new", pipeline_config=CONFIG_FILE)
    assert TrainingRun(settings, Tasks(lambda *_: Training(VERDICT, {}), is_needed=is_needed)).run() == 1
    assert caplog.messages == ["MLflow is down"]


@pytest.mark.parametrize("error", [DataError("bad rows"), ConfigError("bad key")])
def test_run_ends_the_requests_as_failed_where_a_retry_cannot_help(case: Case, error: Exception) -> None:
    assert case.run(error)[0] == 2
    assert [(record.state, record.result and record.result.reason) for record in case.records()] == [
        (State.FAILED, str(error))
    ] * 2


def test_run_ends_the_requests_on_a_misspelt_configuration_without_training(case: Case, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(CONFIG_FILE.read_text().replace("holdout_fraction", "holdout_fractoin"))
    code, train = case.run(VERDICT, case.settings.model_copy(update={"pipeline_config": wrong}))
    assert (code, train.calls) == (2, [])
    (reason,) = {record.result.reason for record in case.records() if record.result}
    assert "did you mean 'holdout_fraction'?" in reason


def skipping(
    folder: Path, sources: Sequence[Source], answer: str | Exception | None, attempts: Sequence[int] = ()
) -> tuple[ExitCode, list[RetrainRecord], list[list[str]]]:
    """Run for claimed requests of these sources; ``answer`` is what the look for anything new says."""
    settings = TrainSettings(_env_file=None, data_dir=folder, pipeline_config=CONFIG_FILE)
    spool = RetrainSpool(settings.retrain_dir).create()
    ids = [spool.submit(source).id for source in sources]
    spool.claim()
    for request_id, number in zip(ids, attempts or [1] * len(ids), strict=True):
        record = spool.get(request_id)
        assert record is not None
        spool.update(record.model_copy(update={"attempts": number, "started_at": NOW}))
    train = FakeTrain(VERDICT, spool)

    def nothing_new(given: TrainSettings, config: PipelineConfig) -> str | None:
        assert (given, config.dataset.source) == (settings, "iris")
        if isinstance(answer, Exception):
            raise answer
        return answer

    code = TrainingRun(settings, Tasks(train, nothing_new=nothing_new), clock=lambda: NOW).run()
    records = [record for request_id in ids if (record := spool.get(request_id)) is not None]
    return code, records, train.calls


@pytest.mark.parametrize("sources", [["alert"], ["schedule"], ["schedule", "alert", "schedule"]])
def test_run_without_a_person_s_request_is_skipped_where_nothing_is_new(
    tmp_path: Path, sources: list[Source], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    code, records, trained = skipping(tmp_path, sources, "nothing new to learn from since version 3")
    assert (code, trained) == (0, [])
    assert [record.result for record in records] == [
        RetrainResult(outcome=Outcome.SKIPPED, reason="nothing new to learn from since version 3", finished_at=NOW)
    ] * len(sources)
    assert caplog.messages[-1] == "skipped: nothing new to learn from since version 3"


@pytest.mark.parametrize("attempts", [(1, 2), (3, 1)])
def test_second_attempt_trains_as_the_first_may_have_been_killed_between_verdict_and_alias(
    tmp_path: Path, attempts: Sequence[int]
) -> None:
    code, records, trained = skipping(tmp_path, ["schedule", "alert"], "same", attempts)
    assert (code, len(trained)) == (0, 1)
    assert [record.state for record in records] == ["promoted", "promoted"]


@pytest.mark.parametrize(
    ("sources", "answer"),
    [
        (["alert", "schedule"], None),
        (["api"], "same"),
        (["bootstrap"], "same"),
        (["alert", "api"], "same"),
        ([], "same"),
    ],
)
def test_run_trains_where_something_is_new_or_a_person_asks(
    tmp_path: Path, sources: list[Source], answer: str | None
) -> None:
    code, records, trained = skipping(tmp_path, sources, answer)
    assert (code, trained) == (0, [[record.id for record in records]])
    assert {record.state for record in records} <= {State.PROMOTED}


@pytest.mark.parametrize(
    ("error", "code", "state"),
    [(DataError("bad rows"), 2, State.FAILED), (ConnectionFailedError("down"), 1, State.RUNNING)],
)
def test_look_for_anything_new_fails_as_a_training_does(
    tmp_path: Path, error: Exception, code: int, state: State
) -> None:
    found = skipping(tmp_path, ["schedule"], error)
    assert (found[0], [record.state for record in found[1]], found[2]) == (code, [state], [])


def retaining(case: Case, answer: Verdict | Exception, error: Exception | None = None) -> tuple[ExitCode, list[State]]:
    """Run with retention; the states in which it found the requests."""
    found: list[State] = []

    def retain(settings: TrainSettings, config: PipelineConfig) -> None:
        assert (settings, config.dataset.source) == (case.settings, "iris")
        found.extend(record.state for record in case.records())
        if error is not None:
            raise error

    code = TrainingRun(case.settings, Tasks(FakeTrain(answer, case.spool), retain=retain), patience=0.05).run()
    return code, found


def test_run_deletes_what_is_no_longer_kept_once_its_requests_have_ended(case: Case) -> None:
    assert retaining(case, VERDICT) == (0, [State.PROMOTED] * 2)


def test_run_that_failed_deletes_nothing(case: Case) -> None:
    assert retaining(case, ConnectionFailedError("down")) == (1, [])


@pytest.mark.parametrize("error", [ConnectionFailedError("down"), RuntimeError("odd")])
def test_run_does_not_fail_where_retention_does(case: Case, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    assert retaining(case, VERDICT, error)[0] == 0
    assert [record.state for record in case.records()] == [State.PROMOTED] * 2
    assert caplog.messages[-1] == "old versions were not deleted; the next training tries again"
    assert caplog.records[-1].exc_info is not None


@pytest.mark.parametrize("error", [ConnectionFailedError("MLflow is down"), InvalidModelError("differs")])
def test_run_leaves_the_requests_claimed_with_the_reason_where_a_retry_may_help(
    case: Case, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    assert case.run(error)[0] == 1
    assert [(record.state, record.last_error) for record in case.records()] == [(State.RUNNING, str(error))] * 2
    assert (caplog.messages, caplog.records[0].exc_info) == ([str(error)], None)


def test_run_logs_the_traceback_of_an_unexpected_error_and_keeps_the_requests(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    assert case.run(ZeroDivisionError("x" * 9000))[0] == 1
    assert caplog.records[0].exc_info is not None
    # Truncated; otherwise the records would be too large to be read.
    noted = [(record.state, (record.last_error or "")[:20], len(record.last_error or "")) for record in case.records()]
    assert noted == [(State.RUNNING, "ZeroDivisionError: x", MAX_TEXT)] * 2


def test_run_gives_up_when_another_training_holds_the_lock(case: Case) -> None:
    with case.spool.lock():
        code, train = case.run(VERDICT)
    assert (code, train.calls) == (75, [])
    assert [record.state for record in case.records()] == [State.RUNNING] * 2


def test_run_waits_for_a_lock_that_is_held_for_a_moment(case: Case) -> None:
    holder = case.spool.lock()
    holder.__enter__()
    timer = threading.Timer(0.05, holder.__exit__, (None, None, None))
    timer.start()
    train = FakeTrain(VERDICT, case.spool)
    assert TrainingRun(case.settings, Tasks(train), clock=lambda: NOW, patience=60.0).run() is ExitCode.OK
    timer.join()


def test_run_holds_the_lock_while_it_trains(case: Case) -> None:
    codes: list[int] = []

    def train(*_: object) -> Training:
        codes.append(case.run(VERDICT)[0])
        return Training(VERDICT, STEP_SECONDS)

    assert TrainingRun(case.settings, Tasks(train)).run() == 0
    assert codes == [75]


def test_run_that_trains_can_be_seen_by_others_until_it_ends(case: Case) -> None:
    seen: list[bool] = []

    def train(*_: object) -> Training:
        seen.append(is_locked(case.settings.training_lock))
        raise DataError("no rows")

    assert TrainingRun(case.settings, Tasks(train)).run() != 0
    assert seen == [True]
    assert not is_locked(case.settings.training_lock)


def test_run_says_when_the_volume_cannot_be_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    settings = TrainSettings(_env_file=None, data_dir=tmp_path / "file", pipeline_config=CONFIG_FILE)
    assert TrainingRun(settings, Tasks(lambda *_: Training(VERDICT, {}))).run() == 1
    assert "make it writable or set DATA_DIR" in caplog.messages[0]


def test_ends_of_requests_are_in_the_audit_log(case: Case) -> None:
    case.run(VERDICT)
    found = AuditLog(case.settings.audit_file).recent(10).entries
    ends = [entry for entry in found if entry.event is Event.RETRAIN_ENDED]
    assert [(end.request_id, end.outcome, end.version, end.reason) for end in reversed(ends)] == [
        (request_id, "promoted", "4", "good") for request_id in case.ids
    ]


# -- what was read ---------------------------------------------------------------------------------------


class Ticking:
    """A clock that goes on by a minute whenever it is read."""

    def __init__(self) -> None:
        self.now = NOW - timedelta(minutes=1)

    def __call__(self) -> datetime:
        self.now += timedelta(minutes=1)
        return self.now


@pytest.mark.parametrize("outcome", [Outcome.PROMOTED, Outcome.REJECTED])
def test_training_with_a_verdict_records_what_it_has_read_and_when_it_began(case: Case, outcome: Outcome) -> None:
    train = FakeTrain(VERDICT.model_copy(update={"outcome": outcome}), case.spool)
    TrainingRun(case.settings, Tasks(train), clock=Ticking(), patience=0.05).run()
    assert read_baseline(case.settings.retrain_dir, VERDICT.model_name) == TrainingBaseline(
        model=VERDICT.model_name, version=VERDICT.model_version, started_at=NOW, rows={"a.csv": 3}
    )


def test_training_without_a_verdict_keeps_the_former_record(case: Case) -> None:
    case.run(DataError("wrong rows"))
    assert read_baseline(case.settings.retrain_dir, VERDICT.model_name) is None


def test_skipped_training_keeps_the_former_record(tmp_path: Path) -> None:
    skipping(tmp_path, ["schedule"], "same")
    assert list(tmp_path.rglob("last_training.json")) == []


def test_record_is_there_before_the_requests_end(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[State] = []
    monkeypatch.setattr(
        training_run, "write_baseline", lambda *_: states.extend(record.state for record in case.records())
    )
    case.run(VERDICT)
    assert states == [State.RUNNING] * 2


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), SpoolFullError("full")])
def test_record_that_cannot_be_written_does_not_fail_the_training(
    case: Case, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(training_run, "write_baseline", fail)
    code, _ = case.run(VERDICT)
    assert (code, [record.state for record in case.records()]) == (0, [State.PROMOTED] * 2)
    assert "what the training has read is not recorded" in caplog.text
