"""Waking up: by file events, by the interval, by a stop from a thread or a signal handler."""

import logging
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from src.core.retrain_signal import RetrainSpool
from src.services.monitor.watch import Wakeups, watching
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


def test_wait_ends_after_its_interval_without_any_event() -> None:
    assert 0.05 <= seconds_of(lambda: Wakeups().wait(0.05)) < 5


def test_wait_takes_any_number_of_seconds() -> None:
    wakeups = Wakeups()
    wakeups.wait(-1)
    wakeups.wake()
    wakeups.wait(1e30)


def test_wakeups_before_a_wait_count_as_one() -> None:
    wakeups = Wakeups()
    for _ in range(5):
        wakeups.wake()
    assert seconds_of(lambda: wakeups.wait(LONG)) < 5
    assert seconds_of(lambda: wakeups.wait(0.05)) >= 0.05


def test_stop_ends_a_wait_at_once() -> None:
    wakeups = Wakeups()
    assert not wakeups.is_set()
    threading.Timer(0.05, wakeups.stop).start()
    assert seconds_of(lambda: wakeups.wait(LONG)) < 5
    assert wakeups.is_set()


def test_stop_from_a_signal_handler_ends_a_wait_of_the_same_thread() -> None:
    wakeups = Wakeups()
    previous = signal.signal(signal.SIGUSR1, lambda *_: wakeups.stop())
    try:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        assert seconds_of(lambda: wakeups.wait(LONG)) < 5
    finally:
        signal.signal(signal.SIGUSR1, previous)


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
