import asyncio

import pytest
import uvloop

from src.serving.http.connection import Deadline
from tests.support.fake_clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def expired() -> list[float]:
    return []


@pytest.fixture
def deadline(clock: FakeClock, expired: list[float]) -> Deadline:
    return Deadline(clock, lambda: expired.append(clock.now))


def test_deadline_expires_once_at_its_time(clock: FakeClock, deadline: Deadline, expired: list[float]) -> None:
    deadline.set(10)
    clock.go_to(9.9)
    assert not expired
    clock.go_to(30)
    assert expired == [10]


def test_deadline_is_moved_later_and_earlier(clock: FakeClock, deadline: Deadline, expired: list[float]) -> None:
    deadline.set(10)
    clock.go_to(5)
    deadline.set(10)
    clock.go_to(14.9)
    assert not expired
    deadline.set(100)
    deadline.set(1)
    clock.go_to(200)
    assert expired == [15.9]
    deadline.set(50)
    deadline.set(1)
    clock.go_to(300)
    assert expired == [15.9, 201]


def test_deadline_of_no_time_can_be_moved_on_the_loop_of_the_service() -> None:
    async def move() -> float:
        loop = asyncio.get_running_loop()
        expired = loop.create_future()
        begun = loop.time()
        deadline = Deadline(loop, lambda: expired.set_result(loop.time() - begun))
        deadline.set(0)
        deadline.set(0.01)
        seconds: float = await asyncio.wait_for(expired, 30)
        return seconds

    assert uvloop.run(move()) >= 0.009  # uvloop counts whole milliseconds


def test_moving_a_deadline_later_creates_no_timer(clock: FakeClock, deadline: Deadline) -> None:
    for now in range(5):
        clock.go_to(now)
        deadline.set(10)
    assert clock.armed == [10]


def test_cleared_deadline_does_not_expire(clock: FakeClock, deadline: Deadline, expired: list[float]) -> None:
    deadline.set(10)
    deadline.clear()
    clock.go_to(20)
    deadline.clear()
    assert (expired, clock.armed) == ([], [])
