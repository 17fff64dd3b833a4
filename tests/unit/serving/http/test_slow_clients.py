import asyncio
from typing import Any

import pytest

from src.serving.http.slow_clients import BODY, HEAD, NOTHING, ClientTimeouts, ReaderWatch, SenderWatch

TIMEOUTS = ClientTimeouts(head_seconds=10, body_seconds=20, body_rate=100)


class Timer:
    def __init__(self) -> None:
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Clock(asyncio.AbstractEventLoop):
    """A loop whose time goes on by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Timer, Any]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Any, *args: Any, **_: Any) -> Any:  # type: ignore[override]
        timer = Timer()
        self.timers.append((when, timer, lambda: callback(*args)))
        return timer

    def call_later(self, delay: float, callback: Any, *args: Any, **_: Any) -> Any:  # type: ignore[override]
        return self.call_at(self.now + delay, callback, *args)

    @property
    def armed(self) -> list[float]:
        return [when for when, timer, _ in self.timers if not timer.is_cancelled]

    def go_to(self, now: float) -> None:
        self.now = now
        due = [item for item in self.timers if item[0] <= now]
        self.timers = [item for item in self.timers if item[0] > now]
        for _, timer, callback in due:
            if not timer.is_cancelled:
                callback()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def late() -> list[float]:
    return []


@pytest.fixture
def sender(clock: Clock, late: list[float]) -> SenderWatch:
    return SenderWatch(clock, TIMEOUTS, lambda: late.append(clock.now))


def test_head_has_a_fixed_time_however_much_comes(clock: Clock, late: list[float], sender: SenderWatch) -> None:
    sender.start(HEAD, 0)
    sender.taken = 10_000
    clock.go_to(9.9)
    assert not late
    clock.go_to(10)
    assert late == [10]


def test_body_earns_time_by_what_comes_up_to_its_limit(clock: Clock, late: list[float], sender: SenderWatch) -> None:
    sender.start(BODY, 500)
    sender.taken = 300
    clock.go_to(20)
    assert (late, clock.armed) == ([], [23])
    sender.taken = 10_000
    clock.go_to(23)
    assert (late, clock.armed) == ([], [25])
    clock.go_to(25)
    assert late == [25]


def test_what_has_come_is_waited_for_no_longer(clock: Clock, late: list[float], sender: SenderWatch) -> None:
    sender.start(HEAD, 0)
    sender.stop()
    assert (sender.phase, clock.armed) == (NOTHING, [])
    sender.start(BODY, 500)
    assert (sender.taken, clock.armed) == (0, [20])
    sender.start(HEAD, 0)
    assert clock.armed == [10]
    assert not late


def test_reader_that_keeps_the_pace_is_waited_for(clock: Clock) -> None:
    stuck: list[float] = []
    waiting = 5000
    reader = ReaderWatch(clock, TIMEOUTS, waiting=lambda: waiting, stuck=lambda: stuck.append(clock.now))
    reader.start()
    waiting = 3000  # 100 a second
    clock.go_to(20)
    assert (stuck, clock.armed) == ([], [40])
    waiting = 1001
    clock.go_to(40)
    assert (stuck, clock.armed) == ([40], [])


def test_reader_of_a_small_rest_must_take_it_all(clock: Clock) -> None:
    stuck: list[float] = []
    reader = ReaderWatch(clock, TIMEOUTS, waiting=lambda: 10, stuck=lambda: stuck.append(clock.now))
    reader.start()
    clock.go_to(20)
    assert stuck == [20]


def test_reader_that_has_caught_up_is_not_watched(clock: Clock) -> None:
    reader = ReaderWatch(clock, TIMEOUTS, waiting=lambda: 10, stuck=lambda: None)
    reader.start()
    reader.stop()
    assert clock.armed == []
