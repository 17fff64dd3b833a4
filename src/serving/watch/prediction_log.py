"""The prediction log of the service: sampled rows and their answers, written to segments in a thread.

Requests only add rows to a list of bounded length; ``run`` writes it once a second. A killed process loses what it had
not written, at most the rows of the last second or so.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, Counter, Gauge

from src.core.feature_table import FeatureTable, Row
from src.core.prediction_log import Sampling, row_id
from src.core.prediction_log_settings import PredictionLogSettings
from src.core.predictions import Predictions
from src.serving.models.predictor import Predictor
from src.serving.tables.answers import Answer
from src.serving.watch.logged_rows import LoggedRows, RowLayout
from src.serving.watch.sampling_rate import SamplingRate
from src.serving.watch.segment_writer import SegmentWriters
from src.serving.watch.shadow import Shadow, ShadowMetrics

WRITE_SECONDS = 1.0
# Rows that wait to be written; more are dropped, and counted.
MAX_WAITING = 20_000
# Rows that are encoded and written in one piece.
WRITE_ROWS = 500
WRITTEN, NOT_SAMPLED, DROPPED = "written", "not_sampled", "dropped"

logger = logging.getLogger(__name__)


@dataclass
class LoggedBatch:
    """A batch that is logged in parts, in the order of its rows. Use it from one thread at a time."""

    layout: RowLayout
    request_id: str
    rate: float
    rows: int = 0  # added so far


class PredictionLog:
    """Samples rows, keeps them for a second, and writes them. Failures of the disk are logged and counted.

    Args:
        settings: limits, and columns to omit and to hash.
        registry: of the metrics.
        folder: of the segments.
        clock: seconds since 1970-01-01 UTC.
        wait: waits so many seconds.
    """

    def __init__(
        self,
        settings: PredictionLogSettings,
        registry: CollectorRegistry,
        folder: Path,
        clock: Callable[[], float] = time.time,
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._clock = clock
        self._wait = wait
        self._sampling = Sampling(settings.log_key)
        self._rate = SamplingRate(settings.prediction_log_rate)
        self._layouts: WeakKeyDictionary[Predictor, RowLayout] = WeakKeyDictionary()
        self._blocks: deque[LoggedRows] = deque()
        self._waiting = 0
        self._lock = threading.Lock()  # of the four above
        metrics = ShadowMetrics(registry)
        self.shadow = Shadow(settings, metrics)
        # While there is a canary: it answers the champion's rows, and the champion the canary's.
        self.canary_as_shadow, self.champion_as_shadow = Shadow(settings, metrics), Shadow(settings, metrics)
        self._shadows = (self.shadow, self.canary_as_shadow, self.champion_as_shadow)
        self._writers = SegmentWriters(folder, clock)
        self._writing = threading.Lock()
        self._is_failing = False
        name, documentation = "inference_prediction_log_rows_total", "Predicted rows by what the log did with them"
        rows = Counter(name, documentation, ["result"], registry=registry)
        self._count = {result: rows.labels(result).inc for result in (WRITTEN, NOT_SAMPLED, DROPPED)}
        rate = Gauge("inference_prediction_log_rate", "Share of rows that are written to the log", registry=registry)
        rate.set_function(lambda: self._rate.rate)
        name, documentation = "inference_prediction_log_unknown_columns", "Columns to hide that the model does not have"
        self._show_unknown = Gauge(name, documentation, registry=registry).set

    def follow(self, predictor: Predictor) -> None:
        """A model is served from now on: report columns in the settings that it does not have."""
        self._show_unknown(len(self._layout(predictor).unknown))

    def add_rows(
        self,
        predictor: Predictor,
        request_ids: Sequence[str],
        times: Sequence[float],
        rows: Sequence[Row],
        answers: Sequence[Answer],
    ) -> None:
        """Add requests for one row each, which were answered at these times."""
        layout, rate = self._layout(predictor), self._offer(len(rows))
        sampled = [place for place, chosen in enumerate(self._sampling.sampled(request_ids, rate)) if chosen]
        places = self._admitted(len(rows), sampled)
        if places:
            block = LoggedRows(
                layout,
                layout.source(rate),
                [request_ids[place] for place in places],
                [times[place] for place in places],
                FeatureTable.from_rows(layout.schema, [rows[place] for place in places]),
                [answers[place] for place in places],
                [None] * len(places),
            )
            self._blocks.append(block)

    def batch(self, predictor: Predictor, request_id: str, rows: int) -> LoggedBatch:
        """Begin a batch of so many rows, all of which are sampled at one rate. From any thread."""
        return LoggedBatch(self._layout(predictor), request_id, self._offer(rows))

    def add_part(
        self, batch: LoggedBatch, table: FeatureTable, found: Predictions, kept: Mapping[str, Sequence[Any]]
    ) -> None:
        """Add the next rows of a batch, shape (n, columns). Only sampled rows are read. From any thread.

        ``kept`` are the other columns of the request, n values each.
        """
        layout, first, now = batch.layout, batch.rows, self._clock()
        batch.rows += len(table)
        numbers = self._sampling.sampled_rows(batch.request_id, first, batch.rows, batch.rate) - first
        places = self._admitted(len(table), numbers.tolist())
        if places:
            given, probabilities = found.given, found.probabilities
            some = Predictions(
                None if given is None else [given[place] for place in places],
                None if probabilities is None else probabilities[places],
                found.classes,
            )
            block = LoggedRows(
                layout,
                layout.source(batch.rate),
                [row_id(batch.request_id, first + place) for place in places],
                [now] * len(places),
                FeatureTable.from_columns(layout.schema, [column[places] for column in table.columns]),
                some,
                layout.keys(kept, places),
            )
            self._blocks.append(block)

    def add_failed(self, predictor: Predictor, table: FeatureTable) -> None:
        """A model has failed on at least one row of a table: its shadow, if there is one, gets a sample of its rows."""
        for shadow in self._shadows:
            shadow.add_failed(predictor, table, self._rate.rate)

    async def run(self, gather: Callable[[], None]) -> None:
        """Write once a second what ``gather``, called from the event loop, and others have added, until cancelled."""
        await asyncio.to_thread(self._announce)
        while True:
            await self._wait(WRITE_SECONDS)
            try:
                gather()
                with self._lock:
                    self._rate.tick()
                await asyncio.to_thread(self.write)
            except Exception:  # the outermost loop: the next rows may be written
                logger.exception("writing the prediction log failed")

    def write(self, *, is_last: bool = False) -> None:
        """Write what waits. Runs in threads, one at a time; at the end without the shadow's answers."""
        with self._writing:
            blocks = [self._blocks.popleft() for _ in range(len(self._blocks))]
            with self._lock:
                self._waiting -= sum(len(block.ids) for block in blocks)
            # Each change of these starts a new segment.
            blocks.sort(key=lambda block: (block.source.version, block.source.role, block.source.rate))
            errors = [error for block in blocks if (error := self._write_block(block))]
            if not is_last:
                errors += [error for shadow in self._shadows for error in shadow.write(blocks, self._writers)]
            errors += self._writers.close() if is_last else self._writers.close_old()
            self._report(errors, written=bool(blocks))

    def close(self) -> None:
        """Write the rest, and close the segment."""
        self.write(is_last=True)

    def _announce(self) -> None:
        """Log at the first start that rows are kept."""
        with contextlib.suppress(OSError):
            if not self._folder.exists():
                logger.info(
                    "rows and their predictions are kept in %s, to be compared with true labels; PREDICTION_LOG=false "
                    "switches this off, PREDICTION_LOG_OMIT and PREDICTION_LOG_HASH leave columns out or hash them",
                    self._folder,
                )

    def _layout(self, predictor: Predictor) -> RowLayout:
        with self._lock:
            found = self._layouts.get(predictor)
            if found is None:
                found = self._layouts[predictor] = RowLayout(predictor, self._settings)
            return found

    def _offer(self, rows: int) -> float:
        with self._lock:
            return self._rate.offer(rows)

    def _admitted(self, offered: int, sampled: list[int]) -> list[int]:
        """The sampled rows for which there is room; all others are counted."""
        with self._lock:
            admitted = sampled[: MAX_WAITING - self._waiting]
            self._waiting += len(admitted)
        self._count[NOT_SAMPLED](offered - len(sampled))
        self._count[DROPPED](len(sampled) - len(admitted))
        return admitted

    def _write_block(self, block: LoggedRows) -> OSError | None:
        """Write and count the rows; return an error by which some were lost."""
        lines, failed = block.lines(), None
        while some := list(islice(lines, WRITE_ROWS)):
            try:
                self._writers.write(block.source, some)
            except OSError as error:
                failed = error
                self._count[DROPPED](len(some))
            else:
                self._count[WRITTEN](len(some))
        return failed

    def _report(self, errors: list[OSError], *, written: bool) -> None:
        """Log the first failure, and the first success after it."""
        if errors and not self._is_failing:
            self._is_failing = True
            logger.error("cannot write the prediction log to %s (%s); rows are dropped", self._folder, errors[0])
        elif not errors and written and self._is_failing:
            self._is_failing = False
            logger.info("the prediction log is working again")
