"""Counts live rows and predictions. Requests only leave notes, which are counted later."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from src.core.feature_table import FeatureTable, Row
from src.core.predictions import Predictions
from src.serving.models.predictor import Predictor
from src.serving.tables.answers import Answer
from src.serving.watch.batch_sample import BatchSample
from src.serving.watch.families import Buckets, counter, gauge
from src.serving.watch.model_windows import NO_DRIFT, DriftReport, ModelWindows

# The label of a prediction that is a number.
REGRESSION = ""
CONFIDENCE_EDGES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
# Notes are counted in blocks of so many, which takes a fraction of a millisecond.
BLOCK = 256
SEED = 20261128

Numbers = Sequence[float] | NDArray[np.floating[Any]]


@dataclass(frozen=True)
class LabelCounts:
    """Labels of predictions.

    Attributes:
        counts: the number of each label.
        indices: (n,) each label's index among the classes, or their number for other labels; empty for a regression.
    """

    counts: Mapping[str, int]
    indices: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, dtype=np.intp))

    @classmethod
    def of(cls, labels: Sequence[str], classes: Sequence[str]) -> "LabelCounts":
        """Count labels, one per row."""
        places = {name: index for index, name in enumerate(classes)}
        return cls(Counter(labels), np.array([places.get(label, len(places)) for label in labels], dtype=np.intp))


@dataclass(frozen=True)
class Batch:
    """A batch that is predicted in parts.

    Attributes:
        windows: those that its rows will enter; None if another model is served now.
    """

    predictor: Predictor
    windows: ModelWindows | None
    sample: BatchSample


class LiveTraffic(Collector):
    """Counts predictions, and compares the newest rows with the training rows.

    Args:
        registry: calls ``collect`` at each scrape.
        window_rows: how many of the newest rows are compared.
    """

    def __init__(self, registry: CollectorRegistry, window_rows: int) -> None:
        self._window_rows = window_rows
        self._notes: list[tuple[Predictor, Row, Answer]] = []
        self._lock = threading.Lock()
        self._random = np.random.default_rng(SEED)
        self._current: Predictor | None = None
        self._windows: ModelWindows | None = None
        self._predictions: Counter[str] = Counter()
        self._out_of_range: Counter[str] = Counter()
        self._unknown: Counter[str] = Counter()
        self._confidence = Buckets(CONFIDENCE_EDGES)
        registry.register(self)

    # -- called by the routes --------------------------------------------------------------------------

    def note(self, predictor: Predictor, row: Row, answer: Answer) -> None:
        """Note one row. Call it from the event loop; it takes almost no time."""
        self._notes.append((predictor, row, answer))
        # A replaced model's notes would keep it in memory.
        if len(self._notes) == BLOCK or predictor is not self._current:
            asyncio.get_running_loop().call_soon(self._work_off)

    def note_table(self, predictor: Predictor, table: FeatureTable, found: Predictions) -> None:
        """Note a whole batch, from any thread. It is counted immediately."""
        batch = self.batch(predictor)
        self.note_part(batch, table, found)
        self.end(batch)

    def batch(self, predictor: Predictor) -> Batch:
        """Begin a batch that is predicted in parts."""
        with self._lock:
            windows = self._windows if predictor is self._current else None
        return Batch(predictor, windows, BatchSample(self._window_rows))

    def note_part(self, batch: Batch, table: FeatureTable, found: Predictions) -> None:
        """Note one part of a batch, from any thread. It is counted immediately, so large tables should be split."""
        classes = batch.predictor.classes
        confidence = found.probabilities.max(axis=1) if found.probabilities is not None else ()
        if found.given is None:
            counts = np.bincount(found.indices, minlength=len(classes)).tolist()
            labels = LabelCounts(dict(zip(classes, counts, strict=True)), found.indices)
        elif classes:
            labels = LabelCounts.of([str(value) for value in found.given], classes)
        else:
            labels = LabelCounts({REGRESSION: len(table)})
        windows = batch.windows
        with self._lock:
            self._count(windows, table, labels, confidence)
            ranks = self._random.random(len(table))
        if windows is not None:
            batch.sample.add(ranks, lambda positions: windows.keys(table, labels.indices, positions))

    def end(self, batch: Batch) -> None:
        """End a batch: a sample of its rows enters the windows.

        Not earlier, because rows are often sorted, and not at all if the client disconnected before the end.
        """
        if batch.windows is not None and batch.sample.keys is not None:
            with self._lock:
                batch.windows.add(batch.sample.keys)

    def follow(self, predictor: Predictor) -> None:
        """Follow another model from now on; its rows are compared with its training rows, from an empty window."""
        self._work_off()
        with self._lock:
            self._current = predictor
            self._windows = ModelWindows(predictor, self._window_rows)
            for label in predictor.classes or (REGRESSION,):
                self._predictions.setdefault(label, 0)
            # Series of columns that this model does not have are removed.
            features = self._windows.features.items()
            self._out_of_range = Counter(
                {name: self._out_of_range[name] for name, window in features if window.limits is not None}
            )
            self._unknown = Counter(
                {name: self._unknown[name] for name, window in features if window.categories is not None}
            )

    # -- called by readers -----------------------------------------------------------------------------

    def report(self) -> DriftReport:
        """Compare the newest rows with the training rows. Call it from the event loop."""
        self._work_off()
        with self._lock:
            return self._windows.report() if self._windows is not None else DriftReport(0, {}, NO_DRIFT)

    def collect(self) -> Iterable[Metric]:
        """The numbers as Prometheus reads them."""
        report = self.report()
        with self._lock:
            reference = self._current.reference if self._current is not None else None
            yield counter("inference_predictions", "Predictions by predicted class", "class", self._predictions)
            yield counter(
                "inference_out_of_range",
                "Numbers outside the range of the training rows",
                "feature",
                self._out_of_range,
            )
            yield counter(
                "inference_unknown_categories",
                "Texts that are not among the column's known categories",
                "feature",
                self._unknown,
            )
            yield self._confidence.family("inference_prediction_confidence", "Probability of the predicted class")
        yield gauge(
            "inference_drift_score",
            "Distance of the newest rows from the training rows beyond what chance gives (0: none); NaN with too few",
            "feature",
            {name: drift.score for name, drift in report.features.items()},
        )
        yield gauge(
            "inference_feature_drifted",
            "1 where the drift of a feature is significant and large, else 0; NaN with too few rows",
            "feature",
            {name: drift.flag for name, drift in report.features.items()},
        )
        yield gauge(
            "inference_reference_class_ratio",
            "Share of the class among the training rows",
            "class",
            reference.class_shares if reference is not None else {},
        )
        yield GaugeMetricFamily(
            "inference_prediction_drift_score",
            "Distance of the predicted classes from the holdout's beyond what chance gives (0: none); NaN with too few",
            value=report.predictions.score,
        )
        yield GaugeMetricFamily(
            "inference_prediction_drifted",
            "1 where the drift of the predicted classes is significant and large, else 0; NaN with too few rows",
            value=report.predictions.flag,
        )
        yield GaugeMetricFamily("inference_drift_window_rows", "Rows that are compared", value=report.rows)

    # -- off the request's path ------------------------------------------------------------------------

    def _work_off(self) -> None:
        notes, self._notes = self._notes, []
        for predictor in dict.fromkeys(predictor for predictor, _, _ in notes):
            mine = [(row, answer) for of, row, answer in notes if of is predictor]
            table = FeatureTable.from_rows(predictor.schema, [row for row, _ in mine])
            answers = [answer for _, answer in mine]
            labels = [str(answer.prediction) if predictor.classes else REGRESSION for answer in answers]
            confidence = [max(answer.probabilities.values()) for answer in answers if answer.probabilities]
            counts = LabelCounts.of(labels, predictor.classes)
            with self._lock:
                windows = self._windows if predictor is self._current else None
                self._count(windows, table, counts, confidence)
                if windows is not None:
                    windows.add(windows.keys(table, counts.indices, np.arange(len(table))))

    def _count(
        self, windows: ModelWindows | None, table: FeatureTable, labels: LabelCounts, confidence: Numbers
    ) -> None:
        """Count rows and predictions."""
        self._predictions.update(labels.counts)
        self._confidence.add(confidence)
        if windows is None or windows is not self._windows:  # a previous model's
            return
        for name, window in windows.features.items():
            values = windows.values(table, name)
            if window.limits is not None:
                self._out_of_range[name] += window.out_of_range(values)
            if window.categories is not None:
                self._unknown[name] += window.unknown(values)
