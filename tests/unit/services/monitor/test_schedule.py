"""Scheduled trainings with a clock of the test's own: time zones, downtimes, clocks that jump, and crashes."""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from src.core import durable_file
from src.core.errors import ConfigError, SpoolFullError
from src.core.monitor_settings import MonitorSettings
from src.core.retrain_record import RetrainRecord
from src.core.retrain_signal import RetrainSpool
from src.services.monitor.retrain_policy import RetrainPolicy
from src.services.monitor.schedule import Schedule, ScheduledRequests
from tests.unit.services.monitor.conftest import Bench, FakeClock

MONDAYS = "0 3 * * 1 Europe/Berlin"
DAILY = "0 3 * * *"
HOUR, DAY = 3600.0, 86400.0


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def times(text: str, after: str, number: int) -> list[str]:
    """The next times of a schedule in UTC, each computed from the one before, as the monitor does."""
    schedule, moment, found = Schedule.parse(text), utc(after), []
    for _ in range(number):
        moment = schedule.next_after(moment)
        found.append(moment.strftime("%m-%d %H:%M"))
    return found


class World:
    """A spool and a schedule over it, at noon of a Tuesday at first."""

    def __init__(self, root: Path, text: str | None = DAILY) -> None:
        self.spool = RetrainSpool(root).create()
        self.clock = FakeClock()  # 2030-01-01, a Tuesday
        self.clock.advance(12 * HOUR)
        self.restart(text)

    def restart(self, text: str | None = DAILY) -> None:
        self.scheduled = ScheduledRequests(self.spool, None if text is None else Schedule.parse(text))

    def step(self, seconds: float = 0.0) -> datetime | None:
        self.clock.advance(seconds)
        return self.scheduled.step(self.clock.now)

    def begin_training(self) -> None:
        """Claim what waits, and start."""
        for record in self.spool.claim():
            self.spool.update(record.model_copy(update={"attempts": 1, "started_at": self.clock.now}))

    @property
    def requests(self) -> list[RetrainRecord]:
        return self.spool.recent(100)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# -- the expression ------------------------------------------------------------------------------------


def test_expression_is_in_utc_without_a_zone_and_else_in_the_zone() -> None:
    assert times("0 3 * * 1", "2026-11-30 00:00", 2) == ["11-30 03:00", "12-07 03:00"]
    assert times(MONDAYS, "2026-11-30 00:00", 2) == ["11-30 02:00", "12-07 02:00"]
    assert times(MONDAYS, "2026-07-01 00:00", 1) == ["07-06 01:00"]
    assert times("  0  3 * *  MON   Europe/Berlin ", "2026-07-01 00:00", 1) == ["07-06 01:00"]


def test_next_time_is_later_than_the_moment_itself() -> None:
    assert times(DAILY, "2026-11-30 02:59:59.999999", 1) == ["11-30 03:00"]
    assert times(DAILY, "2026-11-30 03:00", 1) == ["12-01 03:00"]


def test_time_that_does_not_exist_comes_once_right_after_the_gap() -> None:
    # In Berlin, 2026-03-29 has no time from 02:00 to 03:00, which is 01:00 UTC.
    assert times("30 2 * * * Europe/Berlin", "2026-03-28 12:00", 2) == ["03-29 01:00", "03-30 00:30"]
    assert times("15,45 2 * * * Europe/Berlin", "2026-03-28 12:00", 2) == ["03-29 01:00", "03-30 00:15"]


def test_time_that_exists_twice_comes_once_at_its_first_occurrence() -> None:
    # In Berlin, 2026-10-25 has 02:00 to 03:00 from 00:00 UTC on, and again from 01:00 UTC on.
    assert times("30 2 * * * Europe/Berlin", "2026-10-24 12:00", 2) == ["10-25 00:30", "10-26 01:30"]


@pytest.mark.parametrize("minute", ["00", "29", "30", "31", "59"])
def test_time_that_exists_twice_is_over_in_the_second_hour(minute: str) -> None:
    assert times("30 2 * * * Europe/Berlin", f"2026-10-25 01:{minute}", 1) == ["10-26 01:30"]


def test_every_hour_is_every_hour_that_passes() -> None:
    assert times("0 * * * * Europe/Berlin", "2026-10-24 23:30", 3) == ["10-25 00:00", "10-25 01:00", "10-25 02:00"]
    assert times("0 * * * * Europe/Berlin", "2026-03-28 23:30", 3) == ["03-29 00:00", "03-29 01:00", "03-29 02:00"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("often", "'often' is not a cron expression (Wrong number of fields)"),
        ("@daily", "'@daily' is not a cron expression"),
        ("0 3 * *", "'0 3 * *' is not a cron expression (Wrong number of fields)"),
        ("61 3 * * 1", "(Bad minute)"),
        ("0 0 30 2 *", "(Bad day-of-month)"),
        ("0 0 */31 * MON#5", "(it never occurs)"),
        ("0 3 * * 1 Europe/Berlim", "there is no time zone 'Europe/Berlim'"),
        ("0 3 * * 1 Europe", "there is no time zone 'Europe'"),
        ("0 3 * * 1 ../etc", "there is no time zone '../etc'"),
        ("0 3 * * 1 Europe/Berlin UTC", "there is no time zone 'Europe/Berlin UTC'"),
        ("0 0 3 * * 1", "there is no time zone '1'"),
    ],
)
def test_wrong_schedule_is_a_settings_error_that_says_what_is_wrong(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Schedule.parse(text)
    assert str(raised.value).startswith("wrong environment: RETRAIN_SCHEDULE: ")
    assert problem in str(raised.value)


def test_policy_has_the_schedule_of_the_settings() -> None:
    settings = MonitorSettings(_env_file=None, retrain_schedule=MONDAYS)
    assert RetrainPolicy.from_settings(settings).schedule == Schedule.parse(MONDAYS)
    assert RetrainPolicy.from_settings(MonitorSettings(_env_file=None)).schedule is None


# -- requests ------------------------------------------------------------------------------------------


def test_request_is_submitted_when_its_time_has_come_and_not_before(world: World) -> None:
    assert world.step() == utc("2030-01-02 03:00")
    assert world.step(15 * HOUR - 1) == utc("2030-01-02 03:00")
    assert world.requests == []
    assert world.step(1) == utc("2030-01-03 03:00")
    (request,) = world.requests
    assert (request.source, request.cause) == ("schedule", DAILY)
    world.step(1)
    world.begin_training()
    world.step(60)
    assert len(world.requests) == 1
    world.step(DAY)
    assert len(world.requests) == 2


def test_cause_names_the_zone(tmp_path: Path) -> None:
    world = World(tmp_path, MONDAYS)
    world.step()
    world.step(7 * DAY)
    assert [request.cause for request in world.requests] == [MONDAYS]


def test_first_start_requests_nothing_for_the_past(world: World) -> None:
    world.step()
    world.restart()
    world.step()
    assert world.requests == []


@pytest.mark.parametrize("days", [1, 30])
def test_times_missed_in_a_downtime_are_requested_once(world: World, days: int) -> None:
    world.step()
    world.clock.advance(days * DAY)
    world.restart()
    assert world.step() == utc("2030-01-02 03:00") + timedelta(days=days)
    world.begin_training()
    world.step()
    world.restart()
    world.step(60)
    assert len(world.requests) == 1


def test_time_that_was_handled_is_not_requested_again_after_a_restart(world: World) -> None:
    world.step()
    world.step(DAY)
    world.begin_training()
    world.restart()
    assert world.step(1) == utc("2030-01-03 03:00")
    assert len(world.requests) == 1


def test_changed_expression_starts_anew(world: World) -> None:
    world.step()
    world.clock.advance(2 * DAY)
    world.restart("0 5 * * *")
    assert world.step() == utc("2030-01-04 05:00")
    assert world.requests == []
    world.step(DAY)
    assert [request.cause for request in world.requests] == ["0 5 * * *"]


def test_schedule_that_was_switched_off_starts_anew(world: World) -> None:
    world.step()
    world.restart(None)
    assert world.step() is None
    assert world.step(30 * DAY) is None
    world.restart()
    world.step()
    assert world.requests == []


def test_waiting_request_serves_the_scheduled_time(world: World) -> None:
    world.step()
    waiting = world.spool.submit("api")
    assert world.step(DAY) == utc("2030-01-03 03:00")
    assert [request.id for request in world.requests] == [waiting.id]
    world.spool.claim()  # claimed, but its training cannot be started
    world.step(DAY)
    assert len(world.requests) == 1
    world.begin_training()
    world.step()
    assert len(world.requests) == 1
    world.step(DAY)  # a training that has begun may have read its data already
    assert len(world.requests) == 2


@pytest.mark.parametrize("back", [0.001, 1.0, HOUR])
def test_clock_that_is_set_back_a_little_repeats_no_time(world: World, back: float) -> None:
    world.step()
    world.step(15 * HOUR)
    world.begin_training()
    assert world.step(-back) == utc("2030-01-03 03:00")
    for _ in range(4):
        world.step(back / 2)
    assert len(world.requests) == 1
    world.begin_training()
    world.step(DAY)
    assert len(world.requests) == 2


@pytest.mark.parametrize("back", [HOUR + 1, 400 * DAY])
def test_clock_that_was_wrong_costs_at_most_one_more_request_and_delays_none(world: World, back: float) -> None:
    world.step()
    world.step(15 * HOUR)
    world.begin_training()
    following = world.step(-back)
    assert following is not None
    assert timedelta(0) < following - world.clock.now <= timedelta(days=1)
    assert len(world.requests) == 1
    for _ in range(48):
        world.begin_training()
        world.step(HOUR)
    assert len(world.requests) == 3


def test_monitor_that_is_killed_before_it_has_recorded_a_request_submits_one_more_at_most(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.step()
    with monkeypatch.context() as patch:
        patch.setattr(durable_file, "write_durably", lambda *_, **__: None)  # of the record alone
        world.step(DAY)
    world.restart()
    world.step(1)
    assert len(world.requests) == 1  # the first one is still waiting
    world.restart()
    world.step(DAY)
    world.begin_training()
    assert len(world.requests) == 1


def test_killed_monitor_requests_again_what_a_training_has_begun_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.step()
    with monkeypatch.context() as patch:
        patch.setattr(durable_file, "write_durably", lambda *_, **__: None)
        world.step(DAY)
    world.begin_training()
    for _ in range(3):
        world.restart()
        world.step(1)
        world.begin_training()
    assert len(world.requests) == 2


def test_full_volume_causes_no_storm(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.step()

    def full(*_: object, **__: object) -> None:
        raise SpoolFullError("full")

    monkeypatch.setattr(durable_file, "write_durably", full)
    with pytest.raises(SpoolFullError):
        world.step(DAY)
    for _ in range(3):
        world.begin_training()
        world.step(60)
    assert len(world.requests) == 1


def test_request_that_cannot_be_submitted_is_submitted_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.step()

    def full(*_: object, **__: object) -> RetrainRecord:
        raise SpoolFullError("full")

    with monkeypatch.context() as patch:
        patch.setattr(world.spool, "submit", full)
        with pytest.raises(SpoolFullError):
            world.step(DAY)
    world.step(60)
    assert len(world.requests) == 1


def test_damaged_record_starts_the_schedule_anew(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.step()
    (world.spool.root / "schedule.json").write_text("{")
    world.restart()
    world.step(DAY)
    assert world.requests == []
    assert [record.levelno for record in caplog.records if "is damaged" in record.getMessage()] == [logging.WARNING]


# -- in the monitor ------------------------------------------------------------------------------------


@pytest.fixture
def scheduled(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A monitor with a schedule."""
    policy = RetrainPolicy(3, 2, 5, 1, Schedule.parse(DAILY))
    monkeypatch.setattr("tests.unit.services.monitor.conftest.POLICY", policy)
    bench.restart()
    return bench


def test_monitor_trains_at_the_scheduled_time_and_shows_the_next_one(scheduled: Bench) -> None:
    scheduled.service.step()
    assert scheduled.value("monitor_next_scheduled_timestamp_seconds") == utc("2030-01-01 03:00").timestamp()
    scheduled.clock.advance(3 * HOUR)
    scheduled.service.step()
    assert scheduled.value("monitor_next_scheduled_timestamp_seconds") == utc("2030-01-02 03:00").timestamp()
    assert scheduled.value("monitor_queue", folder="new") == 1
    scheduled.service.step()
    assert len(scheduled.trainer.batches) == 1
    assert scheduled.value("monitor_signals_total", source="schedule", outcome="claimed") == 1


def test_monitor_serves_other_requests_although_the_schedule_fails(scheduled: Bench) -> None:
    (scheduled.spool.root / "schedule.json").mkdir()
    scheduled.submit()
    scheduled.service.step_safely()
    assert scheduled.trainer.asked == 1


def test_monitor_without_a_schedule_shows_no_next_time(bench: Bench) -> None:
    bench.service.step()
    assert bench.value("monitor_next_scheduled_timestamp_seconds") == 0
