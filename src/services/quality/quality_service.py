"""The loop of the quality service: takes in rows and labels, then reports, until it is stopped."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import duckdb
import pyarrow as pa

from src.core.errors import LoopError, first_line
from src.core.wakeups import MAX_WAIT_SECONDS, Wakeups
from src.services.quality.metrics import QualityMetrics

# How long a step may go on after a stop, less than Compose and make local wait.
STOP_SECONDS = 3.0
INTERRUPT_SECONDS = 0.1
# The longest pause after failed runs of a task that is not done in each step.
MAX_PAUSE = timedelta(minutes=5)
# Errors of files, of the database of labels and of the join; any other one is logged with its traceback.
EXPECTED = (LoopError, OSError, duckdb.Error, pa.ArrowException)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """Something that a step does.

    Attributes:
        name: for log lines, such as ``ingesting labels``.
        run: does it; the argument is the current time. It returns sentences about problems that it has met.
        every: the least time between two successful runs; zero: in each step.
    """

    name: str
    run: Callable[[datetime], Sequence[str]]
    every: timedelta = timedelta()


class Reporter(Protocol):
    """Computes and writes the report."""

    def report(self, now: datetime, problems: Sequence[str]) -> None:
        """Write the report, with the problems of the tasks among its own."""

    def interrupt(self) -> None:
        """End a running computation as soon as possible; it raises an error."""


class QualityService:
    """Runs the tasks and the report in a thread, so that a stop never waits for them long.

    A step that is ended loses nothing: every change of the stores is complete or has not taken place.

    Args:
        tasks: in the order in which a step does them. One that fails is repeated in the next step. If it
            fails again and is not done in each step anyway, pauses follow that double up to five minutes.
        reporter: ends each step; None: nothing is reported.
        metrics: the service's metrics.
        seconds: between the starts of two steps.
        clock: the current time, with its zone.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        reporter: Reporter | None,
        metrics: QualityMetrics,
        seconds: float,
        clock: Callable[[], datetime],
    ) -> None:
        self._tasks = tasks
        self._reporter = reporter
        self._metrics = metrics
        self._seconds = seconds
        self._clock = clock
        self._begun: dict[str, datetime] = {}
        self._pauses: dict[str, timedelta] = {}  # from the last run of each task to the next one
        self._found: dict[str, Sequence[str]] = {}  # the problems of the last run of each task
        self._troubles: dict[str, str] = {}
        self._stopped = threading.Event()

    def run(self, wakeups: Wakeups) -> bool:
        """Run steps until stopped; return whether the last one has ended."""
        worker = threading.Thread(target=self._work, args=(wakeups,), name="quality", daemon=True)
        worker.start()
        while not wakeups.is_set():
            wakeups.wait(MAX_WAIT_SECONDS)
        self._stopped.set()
        deadline = time.monotonic() + STOP_SECONDS
        while worker.is_alive() and time.monotonic() < deadline:
            if self._reporter is not None:
                self._reporter.interrupt()
            worker.join(INTERRUPT_SECONDS)
        return not worker.is_alive()

    def step(self) -> None:
        """Do every task that is due, then report; errors are logged, and repeated ones once."""
        now = self._clock()
        self._metrics.beat(now)
        for task in self._tasks:
            if self._stopped.is_set():
                return
            # A clock that was set back does not delay it.
            if task.name not in self._begun or abs(now - self._begun[task.name]) >= self._pauses[task.name]:
                self._do(task, now)
        reporter = self._reporter
        if self._stopped.is_set() or reporter is None:
            return
        failed = [self._troubles[task.name] for task in self._tasks if task.name in self._troubles]
        problems = [*failed, *(text for found in self._found.values() for text in found)]
        self._safely("computing the live quality", lambda: reporter.report(now, problems))

    def _do(self, task: Task, now: datetime) -> None:
        def run() -> None:
            self._found[task.name] = task.run(now)

        failed_before = task.name in self._troubles
        self._safely(task.name, run)
        pause = task.every
        if task.name in self._troubles:
            longer = (
                max(timedelta(seconds=self._seconds), 2 * self._pauses[task.name]) if failed_before else timedelta()
            )
            pause = min(task.every, MAX_PAUSE, longer)
        self._begun[task.name], self._pauses[task.name] = now, pause

    def _work(self, wakeups: Wakeups) -> None:
        try:
            while not self._stopped.is_set():
                begun = time.monotonic()
                self.step()
                self._stopped.wait(max(0.0, self._seconds - (time.monotonic() - begun)))
        finally:
            wakeups.stop()

    def _safely(self, name: str, action: Callable[[], None]) -> None:
        try:
            action()
        except EXPECTED as error:
            self._report_trouble(name, error, expected=True)
        except Exception as error:  # noqa: BLE001 - the outermost loop: the service must keep running
            self._report_trouble(name, error, expected=False)
        else:
            if self._troubles.pop(name, None) is not None:
                logger.info("%s works again", name)

    def _report_trouble(self, name: str, error: Exception, *, expected: bool) -> None:
        if self._stopped.is_set():
            return
        trouble = f"{name} failed: {first_line(error)}"
        if self._troubles.get(name) != trouble:
            logger.error("%s; it will be retried", trouble, exc_info=None if expected else error)
        self._troubles[name] = trouble
