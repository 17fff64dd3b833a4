"""The two loops against a server that answers within 1 ms but for one second in which it answers nothing."""

import asyncio
from collections.abc import Callable

import pytest

from benchmarks.load.figures import Figures, Tally
from benchmarks.load.loops import ClosedLoop, OpenLoop
from tests.unit.benchmarks.virtual_time import run

SERVICE = 0.001
STALL = (2.0, 3.0)
END = 5.0


class StallingLink:
    """A connection to the server, in memory."""

    def __init__(self, loop: ClosedLoop | OpenLoop, stall: tuple[float, float] = STALL) -> None:
        self.since = 0.0
        self.sent = 0
        self._loop = loop
        self._stall = stall

    def send(self, request: bytes) -> None:
        assert request == b"request"
        self.sent += 1
        event_loop = asyncio.get_running_loop()
        answered_at = event_loop.time() + SERVICE
        if self._stall[0] <= answered_at < self._stall[1]:
            answered_at = self._stall[1]
        event_loop.call_at(answered_at, self._answer)

    def _answer(self) -> None:
        self._loop.answered(self, 200)
        self._loop.ready(self)


def closed(*, connections: int) -> Figures:
    figures: list[Figures] = []

    async def load() -> None:
        tally = Tally(0.0, END)
        loop = ClosedLoop([b"request"], tally, asyncio.get_running_loop().time)
        for _ in range(connections):
            loop.ready(StallingLink(loop))
        await asyncio.sleep(END)
        loop.finish()
        figures.append(tally.figures(0.0))

    run(load())
    return figures[0]


def opened(
    *, rate: float, connections: int, stall: tuple[float, float] = STALL, patience: float = 5.0, begin: float = 0.0
) -> Figures:
    figures: list[Figures] = []

    async def load() -> None:
        tally = Tally(begin, END)
        loop = OpenLoop([b"request"], rate, 0.0, tally, asyncio.get_running_loop().time)
        for _ in range(connections):
            loop.ready(StallingLink(loop, stall))
        await loop.keep_sending()
        await loop.wait_for_answers(patience)
        loop.finish()
        figures.append(tally.figures(0.0))

    run(load())
    return figures[0]


def test_a_closed_loop_hides_a_stall_and_an_open_one_shows_it() -> None:
    hidden, shown = closed(connections=4), opened(rate=100, connections=4)
    # A fifth of the time nothing was answered. The closed loop's p99 knows nothing of it: four requests saw it.
    assert hidden.p99 == pytest.approx(1.0)
    assert hidden.maximum == pytest.approx(1001.0, abs=2)
    # A fifth of the open loop's requests fell due in it, each later one with less left to wait.
    assert shown.p50 == pytest.approx(1.0)
    assert shown.p90 == pytest.approx(500, abs=20)
    assert shown.p99 == pytest.approx(950, abs=20)


def test_open_loop_asks_for_what_fell_due_and_counts_every_answer() -> None:
    figures = opened(rate=100, connections=4)
    assert figures.answers == 500
    assert figures.per_second == pytest.approx(100)
    assert figures.errors == {}


def test_open_loop_counts_the_wait_for_a_free_connection() -> None:
    # One connection through which 1,000 a second fit, and 2,000 are due: each waits longer than the one before.
    figures = opened(rate=2000, connections=1, stall=(0.0, 0.0), patience=10)
    assert figures.answers == 10_000
    assert figures.maximum == pytest.approx(5000, abs=5)
    assert figures.p50 == pytest.approx(2500, abs=5)


def test_open_loop_counts_what_was_never_answered_with_the_time_it_waited() -> None:
    figures = opened(rate=100, connections=64, stall=(4.0, 1000.0), patience=5.0)
    assert figures.errors == {"unanswered": 100}
    assert figures.answers == 400
    assert figures.maximum == pytest.approx(6000, abs=15)
    assert figures.p99 == pytest.approx(5950, abs=15)


def test_open_loop_leaves_the_warm_up_out() -> None:
    assert opened(rate=100, connections=4, begin=3.0).answers == 200


class SilentLink:
    since = 0.0

    def send(self, request: bytes) -> None:
        pass


@pytest.mark.parametrize("status", [404, 503])
@pytest.mark.parametrize("make", [ClosedLoop, lambda *given: OpenLoop(given[0], 1.0, 0.0, *given[1:])])
def test_another_status_is_an_error_and_no_answer(
    make: Callable[[list[bytes], Tally, Callable[[], float]], ClosedLoop | OpenLoop], status: int
) -> None:
    tally = Tally(0.0, 1.0)
    loop = make([b"request"], tally, lambda: 0.5)
    link = SilentLink()
    loop.ready(link)
    loop.answered(link, status)
    figures = tally.figures(0.0)
    assert figures.errors == {f"status {status}": 1}
    assert (figures.answers, figures.p50) == (0, None)


def test_a_lost_connection_is_an_error_in_a_closed_loop() -> None:
    tally = Tally(0.0, 1.0)
    loop = ClosedLoop([b"request"], tally, lambda: 0.5)
    link = SilentLink()
    loop.ready(link)
    loop.lost(link)
    assert tally.figures(0.0).errors == {"connection lost": 1}


def test_an_idle_connection_may_end_in_an_open_loop() -> None:
    tally = Tally(0.0, 1.0)
    loop = OpenLoop([b"request"], 1.0, 0.0, tally, lambda: 0.5)
    link = SilentLink()
    loop.ready(link)
    loop.lost(link)
    assert tally.figures(0.0).errors == {}
