"""Waking up: by the interval, by a stop from a thread or a signal handler."""

import os
import signal
import threading
import time
from collections.abc import Callable

from src.core.wakeups import Wakeups

LONG = 20.0


def seconds_of(action: Callable[[], object]) -> float:
    before = time.monotonic()
    action()
    return time.monotonic() - before


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
