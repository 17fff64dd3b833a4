"""The loop of the quality service: order, intervals, errors and the stop."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from prometheus_client import CollectorRegistry

from src.core.errors import DataError
from src.core.wakeups import Wakeups
from src.services.quality import quality_service
from src.services.quality.metrics import QualityMetrics
from src.services.quality.quality_service import QualityService, Task

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Reports:
    """A reporter that keeps what it is told; ``during`` runs while it computes."""

    def __init__(self, done: list[str]) -> None:
        self.problems: list[list[str]] = []
        self.interrupted = threading.Event()
        self.during: Callable[[], None] = lambda: None
        self._done = done

    def report(self, now: datetime, problems: Sequence[str]) -> None:
        assert now.tzinfo is UTC
        self._done.append("report")
        self.problems.append(list(problems))
        self.during()

    def interrupt(self) -> None:
        self.interrupted.set()


class World:
    """A service with a clock of its own; ``done`` lists what it did."""

    def __init__(self) -> None:
        self.now = NOW
        self.done: list[str] = []
        self.reports = Reports(self.done)
        self.registry = CollectorRegistry()
        self.tasks: list[Task] = []
        self.gives: dict[str, Sequence[str] | Exception] = {}

    def task(self, name: str, every: timedelta = timedelta(), gives: Sequence[str] | Exception = ()) -> None:
        """Add a task that returns or raises what ``gives`` has for it."""
        self.gives[name] = gives

        def run(_: datetime) -> Sequence[str]:
            self.done.append(name)
            given = self.gives[name]
            if isinstance(given, Exception):
                raise given
            return given

        self.tasks.append(Task(name, run, every))

    def service(self, seconds: float = 60) -> QualityService:
        metrics = QualityMetrics(self.registry)
        return QualityService(self.tasks, self.reports, metrics, seconds, clock=lambda: self.now)

    @property
    def heartbeat(self) -> float | None:
        return self.registry.get_sample_value("quality_heartbeat_timestamp_seconds")


@pytest.fixture
def world() -> World:
    return World()


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


# -- a step ------------------------------------------------------------------------------------------


def test_step_does_its_tasks_in_order_and_then_reports(world: World) -> None:
    for name in ("rows", "labels"):
        world.task(name)
    world.service().step()
    assert world.done == ["rows", "labels", "report"]
    assert world.heartbeat == NOW.timestamp()


def test_hourly_task_is_done_in_the_first_step_and_again_after_an_hour(world: World) -> None:
    world.task("compact", HOUR)
    service = world.service()
    for seconds, times in ((0, 1), (3599, 1), (3600, 2), (7199, 2), (7200, 3)):
        world.now = NOW + timedelta(seconds=seconds)
        service.step()
        assert world.done.count("compact") == times, seconds


def test_clock_that_is_set_back_does_not_delay_an_hourly_task(world: World) -> None:
    world.task("compact", HOUR)
    service = world.service()
    for days, times in ((365, 1), (0, 2)):
        world.now = NOW + timedelta(days=days)
        service.step()
        assert world.done.count("compact") == times


def test_failed_task_is_repeated_in_the_next_step_and_keeps_nothing_else_from_being_done(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.task("compact", HOUR, gives=OSError(28, "No space left on device"))
    world.task("labels", gives=["a file has no header"])
    service = world.service()
    service.step()
    assert world.done == ["compact", "labels", "report"]
    trouble = "compact failed: [Errno 28] No space left on device"
    assert world.reports.problems == [[trouble, "a file has no header"]]
    assert errors(caplog) == [f"{trouble}; it will be retried"]
    world.gives["compact"] = []
    world.gives["labels"] = []
    service.step()
    assert world.done.count("compact") == 2
    assert world.reports.problems[-1] == []


@pytest.mark.parametrize(
    ("every", "pauses"),
    [
        (HOUR, [0, 60, 120, 240, 300, 300]),
        (timedelta(seconds=100), [0, 60, 100, 100]),
        (timedelta(), [0, 0, 0]),
    ],
)
def test_pauses_of_a_task_that_keeps_failing_grow(world: World, every: timedelta, pauses: list[float]) -> None:
    world.task("count", every)
    service = world.service()
    for _ in range(2):  # a success resets them
        world.gives["count"] = DataError("the database is down")
        service.step()
        for pause in pauses:
            times = world.done.count("count")
            if pause:
                world.now += timedelta(seconds=pause - 1)
                service.step()
                assert world.done.count("count") == times, pause
                world.now += timedelta(seconds=1)
            service.step()
            assert world.done.count("count") == times + 1, pause
        world.gives["count"] = []
        world.now += HOUR
        service.step()
        assert world.reports.problems[-1] == []
        world.now += every


def test_problems_of_an_hourly_task_stay_in_the_report_until_it_runs_again(world: World) -> None:
    world.task("query", HOUR, gives=["three rows have no label"])
    service = world.service()
    service.step()
    world.gives["query"] = []
    service.step()
    world.now = NOW + HOUR
    service.step()
    assert world.reports.problems == [["three rows have no label"], ["three rows have no label"], []]


def test_repeated_error_is_logged_once_and_its_end_too(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.task("query", HOUR, gives=DataError("labels.query fails\nwith a second line"))
    service = world.service()
    with caplog.at_level(logging.INFO):
        for minutes in range(3):
            world.now = NOW + timedelta(minutes=minutes)
            service.step()
        assert errors(caplog) == ["query failed: labels.query fails; it will be retried"]
        world.gives["query"] = DataError("another reason")
        world.now += HOUR
        service.step()
        assert len(errors(caplog)) == 2
        world.gives["query"] = []
        for _ in range(2):
            world.now += HOUR
            service.step()
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.INFO] == ["query works again"]
    assert all(record.exc_info is None for record in caplog.records)


def test_unexpected_error_is_logged_with_its_traceback(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.task("labels", gives=ZeroDivisionError("division by zero"))
    world.service().step()
    (record,) = caplog.records
    assert record.exc_info
    assert world.done == ["labels", "report"]


def test_failing_report_is_no_problem_of_the_next_one(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise duckdb.OutOfMemoryException("failed to allocate")

    world.reports.during = fail
    service = world.service()
    service.step()
    service.step()
    assert errors(caplog) == ["computing the live quality failed: failed to allocate; it will be retried"]
    assert world.reports.problems == [[], []]


# -- the loop ----------------------------------------------------------------------------------------


def test_loop_repeats_steps_until_it_is_stopped(world: World) -> None:
    world.task("rows")
    wakeups = Wakeups()
    third = threading.Event()
    world.reports.during = lambda: third.set() if world.done.count("report") == 3 else None
    stopper = threading.Thread(target=lambda: (third.wait(20), wakeups.stop()))
    stopper.start()
    assert world.service(seconds=0.01).run(wakeups)
    stopper.join()
    assert world.done[:6] == ["rows", "report"] * 3


def test_stop_ends_the_pause_at_once(world: World) -> None:
    wakeups = Wakeups()
    world.reports.during = wakeups.stop
    before = time.monotonic()
    assert world.service(seconds=300).run(wakeups)
    assert time.monotonic() - before < 5
    assert world.done == ["report"]


def test_stop_interrupts_the_report_without_an_error(world: World, caplog: pytest.LogCaptureFixture) -> None:
    wakeups = Wakeups()

    def join() -> None:
        wakeups.stop()
        assert world.reports.interrupted.wait(20)
        raise duckdb.InterruptException("interrupted")

    world.reports.during = join
    assert world.service().run(wakeups)
    assert errors(caplog) == []


def test_stop_leaves_out_the_tasks_that_have_not_begun(world: World) -> None:
    wakeups = Wakeups()
    service = world.service()

    def stop(_: datetime) -> list[str]:
        wakeups.stop()
        assert world.reports.interrupted.wait(20)
        return []

    world.tasks.append(Task("first", stop))
    world.task("second")
    assert service.run(wakeups)
    assert world.done == []


def test_stop_does_not_wait_long_for_what_cannot_be_interrupted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality_service, "STOP_SECONDS", 0.2)
    wakeups, over = Wakeups(), threading.Event()

    def hang() -> None:
        wakeups.stop()
        over.wait(20)

    world.reports.during = hang
    before = time.monotonic()
    assert not world.service().run(wakeups)
    assert time.monotonic() - before < 5
    over.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_loop_that_dies_ends_the_service(world: World) -> None:
    def die(_: datetime) -> list[str]:
        raise SystemExit

    world.tasks.append(Task("dying", die))
    assert world.service().run(Wakeups())
