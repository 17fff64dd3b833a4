"""Waking up by file events."""

import logging
import resource
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from src.core.retrain_signal import RetrainSpool
from src.core.wakeups import Wakeups
from src.services.monitor.watch import watching
from tests.support.running import wait_until

LONG = 20.0


def seconds_of(action: Callable[[], object]) -> float:
    before = time.monotonic()
    action()
    return time.monotonic() - before


@pytest.fixture
def spool(tmp_path: Path) -> RetrainSpool:
    return RetrainSpool(tmp_path).create()


@pytest.fixture
def watched(spool: RetrainSpool) -> Iterator[Wakeups]:
    """Wakeups that are known to come from the spool's folder."""
    wakeups = Wakeups()
    with watching(spool.root / "new", wakeups):

        def event_arrives() -> bool:
            (spool.root / "new" / "probe").touch()
            (spool.root / "new" / "probe").unlink()
            return seconds_of(lambda: wakeups.wait(1)) < 0.9

        wait_until("file events arrive", event_arrives)
        while seconds_of(lambda: wakeups.wait(0.2)) < 0.2:  # the probe's own stragglers
            pass
        yield wakeups


def test_submit_wakes_the_watch(spool: RetrainSpool, watched: Wakeups) -> None:
    spool.submit("api")
    assert seconds_of(lambda: watched.wait(LONG)) < 1
    assert spool.has_waiting()


def test_watching_wakes_once_for_what_came_before_the_watch_stood(spool: RetrainSpool) -> None:
    wakeups = Wakeups()
    with watching(spool.root / "new", wakeups):
        assert seconds_of(lambda: wakeups.wait(LONG)) < 5
        assert seconds_of(lambda: wakeups.wait(0.5)) >= 0.5


def test_watching_costs_next_to_nothing(watched: Wakeups) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF)
    watched.wait(1)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.2


def test_folder_that_cannot_be_watched_is_logged_and_leaves_the_interval(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wakeups = Wakeups()
    with caplog.at_level(logging.WARNING), watching(tmp_path / "absent", wakeups):
        wait_until("it is logged", lambda: "read at every poll interval" in caplog.text, seconds=5)
        assert 0.05 <= seconds_of(lambda: wakeups.wait(0.05)) < 5
    assert len(caplog.records) == 1


def test_watching_leaves_no_thread_behind(spool: RetrainSpool) -> None:
    with watching(spool.root / "new", Wakeups()):
        assert "watch" in {thread.name for thread in threading.enumerate()}
    assert "watch" not in {thread.name for thread in threading.enumerate()}
