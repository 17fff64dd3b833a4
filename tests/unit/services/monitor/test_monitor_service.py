"""The retrain policy, line by line, without threads, processes or waiting."""

import errno
import logging
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from src.core.errors import ConnectionFailedError, SpoolFullError
from src.core.retrain_record import Outcome, RetrainRecord, State, Step, new_id
from src.core.retrain_signal import RetrainSpool
from src.core.wakeups import Wakeups
from src.services.monitor.trainer import StartOutcome
from tests.unit.services.monitor.conftest import POLICY, Bench


def test_step_without_signals_starts_nothing(bench: Bench) -> None:
    assert bench.service.step() == POLICY.poll_seconds
    assert bench.trainer.asked == 0
    assert bench.state() == "idle"


def test_step_starts_one_run_for_all_that_waits_and_charges_it_before_the_start(bench: Bench) -> None:
    ids = bench.submit(3)
    seen: list[RetrainRecord] = []
    bench.trainer.before_start = lambda: seen.extend(map(bench.get, ids))
    bench.service.step()
    assert bench.trainer.batches == [ids]
    assert [(record.attempts, record.started_at) for record in seen] == [(1, bench.clock.now)] * 3
    assert bench.state() == "training"
    assert {bench.get(i).state for i in ids} == {State.RUNNING}


def test_step_during_a_run_leaves_new_signals_waiting(bench: Bench) -> None:
    bench.submit()
    bench.service.step()
    late = bench.submit()[0]
    bench.service.step()
    assert bench.trainer.asked == 1
    assert bench.get(late).state is State.QUEUED
    assert bench.value("monitor_queue", folder="new") == 1


def test_step_while_another_process_holds_the_lock_leaves_everything(bench: Bench) -> None:
    waiting = bench.submit()[0]
    with RetrainSpool(bench.spool.root).lock():
        assert bench.service.step() == POLICY.poll_seconds
    assert bench.trainer.asked == 0
    assert bench.get(waiting).state is State.QUEUED
    assert bench.state() == "training"


def test_burst_of_signals_costs_at_most_two_runs(bench: Bench) -> None:
    ids = bench.submit()
    for _ in range(99):
        bench.service.step()
        ids += bench.submit()
    bench.trainer.succeed()
    bench.service.step()
    bench.trainer.succeed()
    for _ in range(3):
        bench.service.step()
    assert bench.trainer.asked == 2
    assert [bench.get(i).state for i in ids] == [State.PROMOTED] * 100


def test_dead_run_is_tried_again_after_the_backoff_counted_from_its_start(bench: Bench) -> None:
    ids = bench.submit()
    bench.service.step()
    bench.trainer.die()
    bench.clock.advance(0.5)
    assert bench.service.step() == 1.5
    assert bench.state() == "backoff"
    bench.clock.advance(1.49)
    assert bench.service.step() == pytest.approx(0.01)
    assert bench.trainer.asked == 1
    assert bench.get(ids[0]).attempts == 1
    bench.clock.advance(0.01)
    bench.service.step()
    assert bench.trainer.batches == [ids, ids]
    assert bench.get(ids[0]).attempts == 2


def test_second_attempt_does_not_show_the_progress_of_the_first(bench: Bench) -> None:
    (request_id,) = bench.submit()
    bench.service.step()
    bench.spool.update(bench.get(request_id).at_step(Step.TRAIN).with_progress("search: 1 of 9 candidates scored"))
    bench.trainer.die()
    bench.clock.advance(2)
    bench.service.step()
    record = bench.get(request_id)
    assert (record.attempts, record.step, record.progress) == (2, None, None)


def test_run_longer_than_the_backoff_is_tried_again_at_once(bench: Bench) -> None:
    bench.submit()
    bench.service.step()
    bench.clock.advance(60)
    bench.trainer.die()
    bench.service.step()
    assert bench.trainer.asked == 2


def test_backoff_survives_a_restart_of_the_monitor(bench: Bench) -> None:
    bench.submit()
    bench.service.step()
    bench.trainer.die()
    bench.restart()
    bench.clock.advance(1)
    assert bench.service.step() == 1
    bench.clock.advance(1)
    bench.service.step()
    assert bench.trainer.asked == 2


@pytest.mark.parametrize("jump", [-1, -3600, -(10**8), 3600, 10**8])
def test_clock_jump_delays_a_retry_by_no_more_than_the_longest_backoff(bench: Bench, jump: float) -> None:
    bench.submit()
    bench.service.step()
    bench.trainer.die()
    bench.clock.advance(jump)
    assert bench.service.step() <= POLICY.backoff_max_seconds
    bench.clock.advance(POLICY.backoff_max_seconds)
    bench.service.step()
    assert bench.trainer.asked == 2


def test_last_attempt_ends_as_failed_with_attempts_and_last_error(bench: Bench) -> None:
    request_id = bench.submit()[0]
    for _ in range(POLICY.max_attempts):
        bench.service.step()
        bench.spool.update(bench.get(request_id).model_copy(update={"last_error": "MLflow is down"}))
        bench.trainer.die()
        bench.clock.advance(POLICY.backoff_max_seconds)
    bench.service.step()
    assert bench.trainer.asked == 3
    record = bench.get(request_id)
    assert record.result is not None
    assert (record.state, record.result.reason) == (State.FAILED, "gave up after 3 attempts: MLflow is down")
    assert record.result.finished_at == bench.clock.now
    assert bench.value("monitor_signals_total", source="api", outcome="failed") == 1
    assert bench.value("monitor_runs_total", outcome="failed") == 3
    bench.service.step()
    assert bench.value("monitor_signals_total", source="api", outcome="failed") == 1


def test_retry_takes_along_what_waits_and_each_request_keeps_its_own_attempts(bench: Bench) -> None:
    first = bench.submit()[0]
    bench.service.step()
    bench.trainer.die()
    second = bench.submit()[0]
    bench.service.step()
    assert bench.get(second).state is State.QUEUED
    assert bench.value("monitor_queue", folder="new") == 1
    bench.clock.advance(2)
    bench.service.step()
    assert bench.trainer.batches[-1] == [first, second]
    assert [bench.get(i).attempts for i in (first, second)] == [2, 1]
    bench.trainer.die()
    bench.clock.advance(5)
    bench.service.step()
    bench.trainer.die()
    bench.clock.advance(5)
    bench.service.step()
    assert bench.get(first).state is State.FAILED
    assert bench.trainer.batches[-1] == [second]


def test_run_that_acknowledges_only_some_is_tried_again_for_the_others(bench: Bench) -> None:
    ids = bench.submit(2)
    bench.service.step()
    bench.trainer.succeed(ids=ids[:1])
    bench.clock.advance(2)
    bench.service.step()
    assert bench.trainer.batches[-1] == ids[1:]
    assert bench.get(ids[0]).state is State.PROMOTED


def test_already_running_takes_the_attempt_back(bench: Bench) -> None:
    request_id = bench.submit()[0]
    bench.trainer.answer = StartOutcome.ALREADY_RUNNING
    for _ in range(2 * POLICY.max_attempts):
        bench.service.step()
        assert bench.get(request_id).attempts <= 1
    bench.trainer.answer = StartOutcome.STARTED
    bench.service.step()
    assert bench.get(request_id).attempts == 1
    assert bench.trainer.batches == [[request_id]]
    assert bench.value("monitor_attempts_total") == 1
    assert bench.value("monitor_trainer_starts_total", outcome="already_running") == 6


def test_already_running_run_may_acknowledge_the_request(bench: Bench) -> None:
    request_id = bench.submit()[0]
    bench.trainer.answer = StartOutcome.ALREADY_RUNNING
    bench.service.step()
    bench.trainer.succeed(ids=[request_id])
    bench.service.step()
    assert bench.get(request_id).state is State.PROMOTED
    assert bench.trainer.asked == 1
    assert bench.value("monitor_signals_total", source="api", outcome="promoted") == 1


@pytest.mark.parametrize(
    ("answer", "reason"), [(StartOutcome.MISSING, "was not found"), (StartOutcome.FAILED, "could not be started")]
)
def test_start_that_does_not_come_about_costs_no_attempt_however_often(
    bench: Bench, answer: StartOutcome, reason: str
) -> None:
    request_id = bench.submit()[0]
    bench.trainer.answer = answer
    for _ in range(3 * POLICY.max_attempts):
        bench.clock.advance(POLICY.backoff_max_seconds)
        bench.service.step()
        record = bench.get(request_id)
        assert (record.state, record.attempts, record.started_at) == (State.QUEUED, 0, None)
        assert reason in str(record.last_error)
        assert bench.state() == "backoff"
    assert bench.value("monitor_trainer_starts_total", outcome=answer) == 3 * POLICY.max_attempts
    assert bench.value("monitor_attempts_total") == 0
    bench.trainer.answer = StartOutcome.STARTED
    bench.clock.advance(POLICY.backoff_max_seconds)
    bench.service.step()
    assert bench.trainer.batches == [[request_id]]
    assert bench.get(request_id).attempts == 1


def test_trainer_that_cannot_be_asked_keeps_requests_waiting_and_records_why(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable() -> bool:
        raise ConnectionFailedError("the proxy is down")

    monkeypatch.setattr(bench.trainer, "is_running", unreachable)
    bench.service.step()
    assert (bench.state(), bench.value("monitor_trainer_starts_total", outcome="failed")) == ("idle", 0)
    request_id = bench.submit()[0]
    bench.service.step()
    record = bench.get(request_id)
    assert (record.state, record.attempts, record.last_error) == (State.QUEUED, 0, "the proxy is down")
    assert bench.state() == "backoff"
    assert bench.value("monitor_queue", folder="cur") == 1
    assert bench.value("monitor_trainer_starts_total", outcome="failed") == 1
    assert bench.trainer.asked == 0
    monkeypatch.undo()
    bench.clock.advance(POLICY.backoff_max_seconds)
    bench.service.step()
    assert bench.trainer.batches == [[request_id]]


def test_start_that_does_not_come_about_is_repeated_after_growing_pauses(bench: Bench) -> None:
    bench.submit()
    bench.trainer.answer = StartOutcome.MISSING
    assert bench.service.step() == 2
    bench.clock.advance(1.5)
    assert bench.service.step() == 0.5
    assert bench.trainer.asked == 1
    bench.clock.advance(0.5)
    assert bench.service.step() == 4
    assert bench.trainer.asked == 2
    bench.clock.advance(4)
    bench.trainer.answer = StartOutcome.STARTED
    bench.service.step()
    bench.trainer.die()
    assert bench.service.step() == 2  # a run that died counts anew, by its attempts


def test_pauses_after_failed_starts_begin_anew_after_a_start(bench: Bench) -> None:
    for _ in range(2):  # down, down, up; and again
        bench.submit()
        bench.trainer.answer = StartOutcome.MISSING
        assert bench.service.step() == 2
        bench.clock.advance(2)
        assert bench.service.step() == 4
        bench.clock.advance(4)
        bench.trainer.answer = StartOutcome.STARTED
        bench.service.step()
        bench.trainer.succeed()
        bench.service.step()


def test_orderly_stop_during_a_run_costs_no_attempt_however_often(bench: Bench) -> None:
    request_id = bench.submit()[0]
    for _ in range(2 * POLICY.max_attempts):
        bench.service.step()
        assert bench.get(request_id).attempts == 1
        bench.service.stop()
        assert (bench.get(request_id).state, bench.get(request_id).attempts) == (State.QUEUED, 0)
        bench.restart()
    assert bench.trainer.batches == [[request_id]] * 2 * POLICY.max_attempts


def test_orderly_stop_keeps_an_outcome_and_earlier_attempts(bench: Bench) -> None:
    first, second = bench.submit(2)
    bench.service.step()
    bench.trainer.die()
    bench.clock.advance(2)
    bench.service.step()
    bench.trainer.succeed(ids=[first])
    bench.trainer.running = True  # it still has the second to tell
    bench.service.stop()
    assert bench.get(first).state is State.PROMOTED
    assert (bench.get(second).state, bench.get(second).attempts) == (State.RUNNING, 1)


def test_stop_without_a_run_changes_nothing(bench: Bench) -> None:
    request_id = bench.submit()[0]
    bench.service.step()
    bench.trainer.die()
    before = bench.get(request_id)
    bench.service.stop()
    assert bench.get(request_id) == before


def test_poison_goes_to_bad_and_blocks_nobody(bench: Bench) -> None:
    (bench.spool.root / "new" / "0.json").write_text("{")
    (bench.spool.root / "cur" / "1.json").mkdir()
    request_id = bench.submit()[0]
    bench.service.step()
    assert bench.trainer.batches == [[request_id]]
    assert bench.value("monitor_signals_total", source="unknown", outcome="poison") == 2
    assert bench.value("monitor_queue", folder="bad") == 2


def test_poison_alone_starts_nothing(bench: Bench) -> None:
    (bench.spool.root / "new" / "x").write_text("{")
    bench.service.step()
    assert bench.trainer.asked == 0


# -- the monitor's own death ---------------------------------------------------------------------------


class Killed(BaseException):
    """The monitor dies here."""


CALLS = ["lock", "claimed", "has_waiting", "claim", "update", "depths"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", [*CALLS, "start"])
def test_monitor_killed_around_any_call_loses_nothing_and_starts_nothing_twice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, call: str, when: str
) -> None:
    ids = bench.submit(2)
    target = bench.trainer if call == "start" else bench.spool
    original = getattr(target, call)

    def die(*arguments: object) -> object:
        if when == "after":
            original(*arguments)
        raise Killed

    monkeypatch.setattr(target, call, die)
    with pytest.raises(Killed):
        bench.service.step()
    monkeypatch.undo()
    bench.restart()
    for _ in range(4):
        bench.service.step()
        bench.clock.advance(POLICY.backoff_max_seconds)
    assert len(bench.trainer.batches) == 1, "started twice at once, or never"
    assert bench.trainer.batches[0] == ids
    bench.trainer.succeed()
    bench.service.step()
    assert [bench.get(i).state for i in ids] == [State.PROMOTED] * 2
    assert all(bench.get(i).attempts <= 2 for i in ids)
    assert bench.value("monitor_runs_total", outcome="promoted") == 1


def test_restarted_monitor_counts_the_run_it_found_once(bench: Bench) -> None:
    bench.submit(2)
    bench.service.step()
    bench.restart()
    bench.service.step()
    assert bench.state() == "training"
    bench.clock.advance(12)
    bench.trainer.succeed(Outcome.REJECTED)
    for _ in range(3):
        bench.service.step()
    assert bench.trainer.asked == 1
    assert bench.value("monitor_runs_total", outcome="rejected") == 1
    assert bench.value("monitor_runs_total", outcome="failed") == 0
    assert bench.value("monitor_signals_total", source="api", outcome="rejected") == 2
    assert bench.value("monitor_last_run_duration_seconds") == 12


def test_two_monitors_start_one_run(bench: Bench) -> None:
    ids = bench.submit(2)
    first = bench.service
    bench.restart()
    first.step()
    bench.service.step()
    assert bench.trainer.batches == [ids]


def test_first_step_sweeps_half_written_files_and_every_hour_again(bench: Bench) -> None:
    def leave_behind() -> Path:
        path = bench.spool.root / "tmp" / f"{new_id()}.json"
        path.write_text("{")
        return path

    stale = leave_behind()
    bench.clock.now = datetime.now(UTC) + timedelta(hours=2)
    bench.service.step()
    assert not stale.exists()
    later = leave_behind()
    bench.clock.advance(1800)
    bench.service.step()
    assert later.exists()
    bench.clock.advance(1800)
    bench.service.step()
    assert not later.exists()


# -- what the run left behind in the metrics -----------------------------------------------------------


def test_run_is_counted_with_duration_and_scores(bench: Bench) -> None:
    bench.submit(3)
    bench.service.step()
    bench.clock.advance(7)
    bench.trainer.succeed()
    bench.service.step()
    assert bench.value("monitor_runs_total", outcome="promoted") == 1
    assert bench.value("monitor_runs_total", outcome="failed") == 0
    assert bench.value("monitor_signals_total", source="api", outcome="claimed") == 3
    assert bench.value("monitor_signals_total", source="api", outcome="promoted") == 3
    assert bench.value("monitor_attempts_total") == 3
    assert bench.value("monitor_trainer_starts_total", outcome="started") == 1
    assert bench.value("monitor_last_run_duration_seconds") == 7
    assert bench.value("monitor_last_run_score", model="challenger", metric="f1_macro") == 0.8
    assert bench.value("monitor_last_run_score", model="champion", metric="neg_log_loss") == -0.5
    assert bench.value("monitor_heartbeat_timestamp_seconds") == bench.clock.now.timestamp()
    assert bench.state() == "idle"


@pytest.mark.parametrize("outcome", list(Outcome))
def test_end_of_a_run_is_logged_once_with_its_outcome(
    bench: Bench, outcome: Outcome, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench.submit(2)
    bench.service.step()
    bench.trainer.succeed(outcome)
    bench.service.step()
    bench.service.step()
    ends = [line for line in caplog.messages if line.startswith("the training run ended")]
    assert ends == [f"the training run ended: {outcome}, version 7; good enough"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1, "exit code 1; the training log says why"),
        (137, "killed by SIGKILL (exit code 137); the training log ends there"),
        (76, "out of memory; raise TRAIN_MEMORY in .env, or in Kubernetes the memory limit of the CronJob"),
        (125, "no pod of the training Job ran within TRAIN_START_SECONDS; kubectl get events says why"),
        (None, "the exit code is not known; the training log says why"),
    ],
)
def test_failed_attempt_is_logged_with_its_number_and_exit_code(
    bench: Bench, code: int | None, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench.submit(2)
    for attempt in (1, 2):
        bench.service.step()
        bench.trainer.die(code)
        bench.service.step()
        failed = [line for line in caplog.messages if line.startswith("training attempt")]
        assert failed[-1] == f"training attempt {attempt} of 3 failed: {reason}"
        assert len(failed) == attempt
        bench.clock.advance(POLICY.backoff_max_seconds)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (137, "killed by SIGKILL (exit code 137); the training log ends there"),
        (76, "out of memory; raise TRAIN_MEMORY in .env, or in Kubernetes the memory limit of the CronJob"),
        (125, "no pod of the training Job ran within TRAIN_START_SECONDS; kubectl get events says why"),
        (1, "MLflow is down"),
        (75, "MLflow is down"),
        (None, "MLflow is down"),
    ],
)
def test_request_says_what_killed_its_training(bench: Bench, code: int | None, error: str) -> None:
    request_id = bench.submit()[0]
    for _ in range(POLICY.max_attempts):
        bench.service.step()
        bench.spool.update(bench.get(request_id).with_error("MLflow is down"))
        bench.trainer.die(code)
        bench.clock.advance(POLICY.backoff_max_seconds)
    bench.service.step()
    result = bench.get(request_id).result
    assert result is not None
    assert result.reason == f"gave up after 3 attempts: {error}"


def test_request_that_came_during_a_killed_run_does_not_blame_it(bench: Bench) -> None:
    bench.submit()
    bench.service.step()
    late = bench.submit()[0]
    bench.trainer.die(137)
    bench.clock.advance(POLICY.backoff_max_seconds)
    bench.service.step()
    assert bench.get(late).last_error is None


def test_exits_are_counted_by_kind(bench: Bench) -> None:
    def counts() -> dict[str, float | None]:
        kinds = ("ok", "error", "busy", "out_of_memory", "killed", "unknown")
        return {kind: bench.value("monitor_trainer_exits_total", kind=kind) for kind in kinds}

    assert set(counts().values()) == {0}
    bench.submit()
    for code in (76, 137, None):
        bench.service.step()
        bench.trainer.die(code)
        bench.clock.advance(POLICY.backoff_max_seconds)
    bench.service.step()
    bench.submit()
    bench.service.step()
    bench.trainer.succeed()
    bench.service.step()
    assert counts() == {"ok": 1, "error": 0, "busy": 0, "out_of_memory": 1, "killed": 1, "unknown": 1}


# -- a disk that is full or gone -----------------------------------------------------------------------


def test_full_disk_starts_nothing_charges_nobody_and_is_logged_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ids = bench.submit(3)
    writes = 0

    def full(_: int) -> None:
        nonlocal writes
        writes += 1
        if writes % 5 == 0:  # in the middle of the batch
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SpoolFullError):
        bench.service.step()
    monkeypatch.setattr(os, "fsync", _always_full)
    with caplog.at_level(logging.ERROR):
        for _ in range(10):
            assert bench.service.step_safely() == POLICY.poll_seconds
    assert [record.getMessage().split(";")[0] for record in caplog.records] == ["the shared volume is full"]
    assert bench.trainer.asked == 0
    monkeypatch.undo()
    bench.clock.advance(POLICY.backoff_max_seconds)
    bench.service.step_safely()
    assert bench.trainer.batches == [ids]
    assert [bench.get(i).attempts for i in ids] == [1, 1, 1]


def _always_full(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_full_disk_while_giving_up_is_counted_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = bench.submit(2)
    for _ in range(POLICY.max_attempts):
        bench.service.step()
        bench.trainer.die()
        bench.clock.advance(POLICY.backoff_max_seconds)
    finish, finished = bench.spool.finish, []

    def second_fails(*arguments: object) -> object:
        finished.append(arguments)
        if len(finished) == 2:
            raise SpoolFullError("full")
        return finish(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.spool, "finish", second_fails)
    bench.service.step_safely()
    bench.service.step_safely()
    assert [bench.get(i).state for i in ids] == [State.FAILED] * 2
    assert bench.value("monitor_signals_total", source="api", outcome="failed") == 2


def test_missing_spool_is_logged_once_and_again_after_it_came_back(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    new = bench.spool.root / "new"
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            new.rename(new.with_name("away"))
            bench.service.step_safely()
            bench.service.step_safely()
            new.with_name("away").rename(new)
            bench.service.step_safely()
    texts = [record.getMessage() for record in caplog.records]
    assert [("DATA_DIR" in text, text == "working again") for text in texts] == [(True, False), (False, True)] * 2


def test_unforeseen_error_is_logged_with_its_traceback_and_the_loop_lives(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bench.trainer, "is_running", lambda: 1 / 0)
    with caplog.at_level(logging.ERROR):
        assert bench.service.step_safely() == POLICY.poll_seconds
        bench.service.step_safely()
    assert len(caplog.records) == 1
    assert caplog.records[0].exc_info is not None


def test_run_looks_again_after_no_more_than_the_poll_interval(bench: Bench) -> None:
    waits: list[float] = []

    class Counted(Wakeups):
        def wait(self, seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                self.stop()

    bench.submit()
    bench.trainer.answer = StartOutcome.MISSING
    bench.service.run(Counted())
    assert waits == [POLICY.poll_seconds] * 3
