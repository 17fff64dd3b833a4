"""Metrics of the served model and of its live rows, which the prediction log gets from here.

Requests for one row only leave notes, which are counted later.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from src.core.feature_table import FeatureTable, Row
from src.core.prediction_log import Role
from src.core.predictions import Predictions
from src.serving.models.predictor import Predictor
from src.serving.tables.answers import Answer
from src.serving.watch.drift import NO_DRIFT, Batch, DriftReport, ModelWindow
from src.serving.watch.model_metrics import by_label, model_gauges
from src.serving.watch.prediction_log import LoggedBatch, PredictionLog

# The label of a prediction that is a number.
REGRESSION = ""
CONFIDENCE_EDGES = np.array([0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0])
CONFIDENCE_BOUNDS = (*map(floatToGoString, CONFIDENCE_EDGES), "+Inf")
# Notes are counted in blocks of so many: requests wait for a block, 0.2 ms, and smaller ones cost more per row.
BLOCK = 128
SEED = 20261128

NOTHING: Mapping[str, Sequence[Any]] = {}

# An answered request for one row: the model, the row, the answer, the request's id, and the time. A named tuple would
# take three times as long.
_Note = tuple[Predictor, Row, Answer, str, float]


class NotedBatch(NamedTuple):
    """A batch that is noted in parts; that of a canary is not compared with the training rows."""

    predictor: Predictor
    sample: Batch | None
    logged: LoggedBatch | None

    def end(self) -> None:
        """All parts are noted. Without this call, the batch's rows are not compared with the training rows."""
        if self.sample is not None:
            self.sample.end()


class LiveTraffic(Collector):
    """Counts predictions, and compares the newest ``window_rows`` rows with the training rows.

    It passes all rows to the prediction log, if there is one. Rows that a canary answers are only counted: the other
    numbers are about the champion.
    """

    def __init__(self, registry: CollectorRegistry, window_rows: int, log: PredictionLog | None = None) -> None:
        self._window_rows = window_rows
        self._log = log
        self._notes: list[_Note] = []
        self._lock = threading.Lock()
        self._random = np.random.default_rng(SEED)
        self._current: Predictor | None = None
        self._window: ModelWindow | None = None
        self._predictions = Counter[str]()
        self._out_of_range = Counter[str]()
        self._unknown = Counter[str]()
        self._confidence = np.zeros(len(CONFIDENCE_EDGES) + 1, dtype=np.int64)
        self._confidence_sum = 0.0
        self._canary_rows = 0
        self._untaken = Counter[str]()  # of these, by version
        registry.register(self)

    def note(self, predictor: Predictor, row: Row, answer: Answer, request_id: str) -> None:
        """Note a request for one row. Call it from the event loop; it takes almost no time."""
        self._notes.append((predictor, row, answer, request_id, time.time()))
        # A replaced model's notes would keep it in memory. A canary's wait for the log, which takes them each second.
        is_replaced = predictor is not self._current and predictor.role is not Role.CANARY
        if len(self._notes) == BLOCK or is_replaced:
            asyncio.get_running_loop().call_soon(self.work_off)

    def note_table(
        self,
        predictor: Predictor,
        table: FeatureTable,
        found: Predictions,
        request_id: str,
        kept: Mapping[str, Sequence[Any]] = NOTHING,
    ) -> None:
        """Note a whole batch, from any thread. It is counted immediately."""
        batch = self.batch(predictor, request_id, len(table))
        self.note_part(batch, table, found, kept)
        batch.end()

    def batch(self, predictor: Predictor, request_id: str, rows: int) -> NotedBatch:
        """Begin a batch of so many rows, which is predicted in parts."""
        logged = self._log.batch(predictor, request_id, rows) if self._log else None
        sample = None if predictor.role is Role.CANARY else self._sample_of(predictor)
        return NotedBatch(predictor, sample, logged)

    def note_part(
        self, batch: NotedBatch, table: FeatureTable, found: Predictions, kept: Mapping[str, Sequence[Any]] = NOTHING
    ) -> None:
        """Note the next part of a batch, from any thread, with the request's other columns.

        It is counted immediately, so large tables should be split.
        """
        if batch.sample is not None:
            self._count(batch.sample, table, found)
        else:
            self._count_canary(batch.predictor, len(table))
        if self._log and batch.logged:
            self._log.add_part(batch.logged, table, found, kept)

    def take_canary_rows(self, version: str) -> int:
        """How many rows a version has answered as a canary since the last call."""
        with self._lock:
            return self._untaken.pop(version, 0)

    def _count_canary(self, predictor: Predictor, rows: int) -> None:
        with self._lock:
            self._canary_rows += rows
            self._untaken[predictor.version.version] += rows

    def _sample_of(self, predictor: Predictor) -> Batch:
        window = self._window
        if window is None or window.predictor is not predictor:
            window = ModelWindow(predictor, self._window_rows)  # of a replaced model; it is discarded
        return Batch(window)

    def _count(self, batch: Batch, table: FeatureTable, found: Predictions) -> None:
        counts, labels = _labels(found, batch.window.predictor.classes)
        confidence = np.array(() if found.probabilities is None else found.probabilities.max(axis=1), dtype=np.float64)
        buckets = np.bincount(np.searchsorted(CONFIDENCE_EDGES, confidence), minlength=len(CONFIDENCE_EDGES) + 1)
        with self._lock:
            self._predictions.update(counts)
            self._confidence += buckets
            self._confidence_sum += float(confidence.sum())
            if batch.window is self._window:
                for name, column in batch.window.features.items():
                    counter = self._out_of_range if column.limits else self._unknown
                    if name in counter:
                        counter[name] += column.unseen(table.columns[column.place])
            ranks = self._random.random(len(table))
        batch.add(ranks, table, labels)

    def follow(self, predictor: Predictor) -> None:
        """Follow another model from now on; its rows are compared with its training rows, from an empty window."""
        self.work_off()
        if self._log:
            self._log.follow(predictor)
        with self._lock:
            self._current = predictor
            self._window = ModelWindow(predictor, self._window_rows)
            self._predictions.update(dict.fromkeys(predictor.classes or (REGRESSION,), 0))
            # Series of columns that this model does not have are removed.
            features = self._window.features.items()
            self._out_of_range = Counter({name: self._out_of_range[name] for name, column in features if column.limits})
            self._unknown = Counter({name: self._unknown[name] for name, column in features if column.categories})

    def report(self) -> DriftReport:
        """Compare the newest rows with the training rows. Call it from the event loop."""
        self.work_off()
        return self._window.report() if self._window is not None else DriftReport(0, {}, NO_DRIFT)

    def collect(self) -> Iterable[Metric]:
        """The numbers as Prometheus reads them."""
        report = self.report()
        yield from model_gauges(self._current, report)
        counters = (
            ("inference_predictions", "Predictions by predicted class", "class", self._predictions),
            ("inference_out_of_range", "Numbers outside the training rows' range", "feature", self._out_of_range),
            ("inference_unknown_categories", "Texts that are no known category", "feature", self._unknown),
        )
        with self._lock:
            yield from (by_label(CounterMetricFamily, *counter) for counter in counters)
            yield CounterMetricFamily(
                "inference_canary_rows", "Rows that a canary has answered", value=self._canary_rows
            )
            yield HistogramMetricFamily(
                "inference_prediction_confidence",
                "Probability of the predicted class",
                buckets=list(zip(CONFIDENCE_BOUNDS, np.cumsum(self._confidence).tolist(), strict=True)),
                sum_value=self._confidence_sum,
            )

    def work_off(self) -> None:
        """Count and log the notes, as one batch for each model. Call it from the event loop."""
        notes, self._notes = self._notes, []
        for predictor in dict.fromkeys(note[0] for note in notes):
            _, rows, answers, request_ids, times = zip(*(note for note in notes if note[0] is predictor), strict=True)
            if predictor.role is Role.CANARY:
                self._count_canary(predictor, len(rows))
            else:
                self._count_rows(predictor, rows, answers)
            if self._log:
                self._log.add_rows(predictor, request_ids, times, rows, answers)

    def _count_rows(self, predictor: Predictor, rows: Sequence[Row], answers: Sequence[Answer]) -> None:
        # Of a row's probabilities, only the largest is counted.
        largest = [max(answer.probabilities.values()) for answer in answers if answer.probabilities]
        probabilities = np.array(largest).reshape(-1, 1) if largest else None
        found = Predictions([answer.prediction for answer in answers], probabilities)
        batch = self._sample_of(predictor)
        self._count(batch, FeatureTable.from_rows(predictor.schema, rows), found)
        batch.end()


def _labels(found: Predictions, classes: tuple[str, ...]) -> tuple[Mapping[str, int], NDArray[np.intp]]:
    """The number of each label, and the rows' labels.

    A row's label is its index among the classes, or their number if it is none of them; a regression has no labels.
    """
    if found.given is None:
        counts = np.bincount(found.indices, minlength=len(classes)).tolist()
        return dict(zip(classes, counts, strict=True)), found.indices
    if not classes:
        return {REGRESSION: len(found.given)}, np.empty(0, dtype=np.intp)
    labels = [str(value) for value in found.given]
    places = {name: index for index, name in enumerate(classes)}
    return Counter(labels), np.array([places.get(label, len(places)) for label in labels], dtype=np.intp)
