"""Runs models for the routes: on the event loop, in one call with other requests, or in threads."""

import asyncio
import contextlib
import functools
import os
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from src.core.feature_table import FeatureTable, Row
from src.core.predictions import Predictions
from src.serving.models.predictor import Predictor
from src.serving.tables.answers import Answer

# A larger body is decoded in the thread, as it would block the event loop for too long.
INLINE_BYTES = 1 << 17
# The longest that a table may take on the event loop. A switch to the thread and back costs as much as a hundred rows,
# and more while the loop is busy, because both need the interpreter lock.
TABLE_SECONDS = 0.004
# Once tables have taken so long in one iteration of the event loop, others wait for the next iteration.
TURN_SECONDS = 0.001
# A large table is predicted in parts of about so long; other requests run in between, and its rows fit into caches.
PART_SECONDS = 0.02
# Cores beyond these gain little: the parts of one table are joined by one thread.
MAX_THREADS = 4
CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")

T = TypeVar("T")
Steps = Generator[FeatureTable, Any, T]
_Waiting = tuple[Row, asyncio.Future[Answer]]
OnFailure = Callable[[Predictor, FeatureTable], None]


def ignore_failure(_: Predictor, __: FeatureTable) -> None:
    """Without a prediction log, nothing compares failures."""


class SharedTurn(Generic[T]):
    """Rows of quick models that arrive in the same iteration of the event loop share a call at its end.

    There is no timer: a single row is never delayed for others. ``answer`` is called by the event loop with a model and
    the requests that wait for it; ``size`` is the number of all waiting ones.
    """

    def __init__(self, answer: Callable[[Predictor, list[T]], None]) -> None:
        self._answer = answer
        self._waiting: dict[Predictor, list[T]] = {}
        self.size = 0

    def add(self, predictor: Predictor, waiting: T) -> None:
        """Predict a row at the end of this iteration, or of a later one if there are too many."""
        if not self.size:
            # Runs after all requests that arrived together with this one: they are scheduled already.
            asyncio.get_running_loop().call_soon(self._end)
        self.size += 1
        self._waiting.setdefault(predictor, []).append(waiting)

    def _end(self) -> None:
        """Call one model; rows for another one, after a swap, wait for the next iteration."""
        predictor = next(iter(self._waiting))
        batch, most = self._waiting.pop(predictor), predictor.cost.inline_rows
        if len(batch) > most:
            self._waiting[predictor] = batch[most:]
            del batch[most:]
        self.size -= len(batch)
        if self.size:
            asyncio.get_running_loop().call_soon(self._end)
        self._answer(predictor, batch)


@dataclass(frozen=True)
class _Returned(Generic[T]):
    value: T


class InferenceScheduler:
    """Runs models for the routes, which get the models' errors. Use from one event loop; close it with ``close``.

    Rows that are predicted together get bitwise the same answers as each alone. ``threads`` parts of a table may be
    predicted at the same time while no other table is. ``on_failure`` gets the rows on which a model has raised an
    error: a single one, or a table with at least one such row; it may be called from any thread.
    """

    def __init__(self, threads: int = 1, on_failure: OnFailure = ignore_failure) -> None:
        # One thread: while it is busy, rows gather for the next call, which costs little more than that of one row.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predict")
        self._threads = threads
        self._on_failure = on_failure
        self._parts = ThreadPoolExecutor(threads, thread_name_prefix="predict-part")
        # The tables, or parts of them, that are predicted in threads now.
        self._running: set[asyncio.Future[Predictions]] = set()
        self._quick = SharedTurn[_Waiting](lambda predictor, batch: _settle(batch, self._answers(predictor, batch)))
        self._slow: dict[Predictor, list[_Waiting]] = {}
        self._calling: asyncio.Task[None] | None = None
        # Seconds that tables have taken in this iteration of the event loop.
        self._taken = 0.0

    def close(self) -> None:
        """Accept no more calls; a running one is completed."""
        for executor in (self._thread, self._parts):
            executor.shutdown(wait=False, cancel_futures=True)

    async def answer(self, predictor: Predictor, row: Row) -> Answer:
        """Predict a row together with others of this iteration or, for a slow model, of the previous call's time."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        if predictor.cost.is_quick:
            self._quick.add(predictor, (row, future))
        else:
            self._slow.setdefault(predictor, []).append((row, future))
            if self._calling is None:
                # Starts after all requests that arrived together with this one: they are scheduled already.
                self._calling = asyncio.create_task(self._call_slow_models())
        return await future

    async def run(self, predictor: Predictor, size: int, steps: Steps[T]) -> T:
        """Run a request's steps: on the event loop if they are quick, else in the thread. Raises what these raise.

        ``size`` is the body's length in bytes. The steps decode and yield tables, are sent the predictions for each,
        and return the response.
        """
        at_once = size <= INLINE_BYTES
        if at_once:
            await self.turn()
        found: Predictions | None = None
        while True:
            step = functools.partial(_next, steps, found)
            table = step() if at_once else await self.in_thread(step)
            if isinstance(table, _Returned):
                return table.value
            at_once = at_once and self.takes(predictor, len(table))
            found = self.call(predictor, table) if at_once else await self.predict(predictor, table)

    async def turn(self) -> None:
        """Wait for a loop iteration that has time for tables, first come first served."""
        while self._taken >= TURN_SECONDS:  # noqa: ASYNC110 - the next iteration resets it
            await asyncio.sleep(0)

    def takes(self, predictor: Predictor, rows: int) -> bool:
        """Whether so many rows may be predicted on the event loop; if so, reserve their time in this iteration."""
        seconds = predictor.cost.of(rows)
        if seconds > TABLE_SECONDS:
            return False
        if not self._taken:
            asyncio.get_running_loop().call_soon(self._end_turn)
        self._taken += seconds
        return True

    async def predict(self, predictor: Predictor, table: FeatureTable) -> Predictions:
        """Predict a table of at least one row in threads, in parts. Raises what the model raises on it."""
        if len(table) == 1:  # a slow model's single rows gather, whatever route they came from
            answer = await self.answer(predictor, table.row(0))
            shares = list(dict(answer.probabilities or {}).values())
            return Predictions([answer.prediction], np.array([shares]) if shares else None)
        size = max(1, int(PART_SECONDS / predictor.cost.per_row))
        parts = (table.part(start, start + size) for start in range(0, len(table), size))
        async with contextlib.aclosing(self.each(predictor, parts)) as found:
            return Predictions.joined([part async for part in found])

    async def each(self, predictor: Predictor, tables: Iterable[FeatureTable]) -> AsyncGenerator[Predictions, None]:
        """Predict tables of at least one row in threads, some of them ahead of the caller, and yield in their order.

        Raises what the model raises on a table.
        """
        loop, rest = asyncio.get_running_loop(), iter(tables)
        running: deque[asyncio.Future[Predictions]] = deque()
        try:
            while True:
                alone = all(future.done() or future in running for future in self._running)
                is_shared = alone and self._threads > 1 and predictor.engine.is_parallel
                executor, most = (self._parts, self._threads) if is_shared else (self._thread, 1)
                for table in islice(rest, max(0, most - len(running))):
                    future = loop.run_in_executor(executor, self.call, predictor, table)
                    future.add_done_callback(self._running.discard)
                    self._running.add(future)
                    running.append(future)
                if not running:
                    return
                yield await running.popleft()
        finally:
            for future in running:
                future.cancel()

    def call(self, predictor: Predictor, table: FeatureTable) -> Predictions:
        """Predict a table in this thread. Raises what the model raises on it."""
        try:
            return predictor.engine.predict(table)
        except Exception:
            self._on_failure(predictor, table)
            raise

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run a function in the models' thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _answers(self, predictor: Predictor, batch: list[_Waiting]) -> list[Answer | Exception]:
        """A prediction or an error for each row, so that a row on which the model fails does not fail the others."""
        try:
            return list(predictor.answer([row for row, _ in batch]))
        except Exception as error:  # noqa: BLE001 - it is raised to the row's request
            if len(batch) == 1:
                self._on_failure(predictor, FeatureTable.from_rows(predictor.schema, [batch[0][0]]))
                return [error]
            return [answer for item in batch for answer in self._answers(predictor, [item])]

    def _end_turn(self) -> None:
        self._taken = 0.0

    async def _call_slow_models(self) -> None:
        """Predict the waiting rows in the thread, one call per model."""
        try:
            while self._slow:
                predictor = next(iter(self._slow))
                batch = self._slow.pop(predictor)
                try:
                    answers = await self.in_thread(functools.partial(self._answers, predictor, batch))
                except BaseException:  # the service stops, or the thread ended
                    for _, future in batch:
                        future.cancel()
                    raise
                _settle(batch, answers)
        finally:
            self._calling = None


def available_cores() -> int:
    """The cores that this process, or its container, may use; at least 1."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no container, or no limit
        quota, period = map(int, CPU_LIMIT.read_text().split())
        cores = min(cores, quota // period)
    return max(1, cores)


def _next(steps: Steps[T], found: Predictions | None) -> FeatureTable | _Returned[T]:
    """The next yielded value, or the returned one: a future cannot carry a StopIteration."""
    try:
        return steps.send(found)
    except StopIteration as end:
        return _Returned(end.value)


def _settle(batch: list[_Waiting], answers: Iterable[Answer | Exception]) -> None:
    for (_, future), answer in zip(batch, answers, strict=True):
        if future.done():  # its client has disconnected
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
