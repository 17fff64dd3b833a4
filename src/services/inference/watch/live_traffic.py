"""What live rows and answers look like: a request leaves a note of them, and all counting is done off its path."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from src.core.feature_table import FeatureTable, Row
from src.core.predictions import Predictions
from src.services.inference.formats.schemas import Answer
from src.services.inference.model.predictor import Predictor
from src.services.inference.watch.drift import DriftWindow, Window, class_window, feature_windows

# The label of a prediction that is a number.
REGRESSION = ""
CONFIDENCE_EDGES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
# Notes are worked off in blocks of so many: a fraction of a millisecond.
BLOCK = 256

Numbers = Sequence[float] | NDArray[np.floating[Any]]


@dataclass(frozen=True)
class DriftReport:
    """How the newest rows compare with those of training.

    Attributes:
        rows: how many rows are compared.
        features: the index of each feature; NaN while there are too few rows.
        predictions: the index of the predicted classes' shares; NaN where there is none.
    """

    rows: int
    features: dict[str, float]
    predictions: float


class LiveTraffic(Collector):
    """Counts predictions, and compares the newest rows with those of training.

    Args:
        registry: asks for the numbers when it is scraped.
        window_rows: how many of the newest rows are compared.
    """

    def __init__(self, registry: CollectorRegistry, window_rows: int) -> None:
        self._window_rows = window_rows
        self._notes: list[tuple[Predictor, Row, Answer]] = []
        self._lock = threading.Lock()
        self._current: Predictor | None = None
        self._features: dict[str, DriftWindow] = {}
        self._shares: Window | None = None
        self._predictions: Counter[str] = Counter()
        self._out_of_range: Counter[str] = Counter()
        self._confidence = _Buckets(CONFIDENCE_EDGES)
        registry.register(self)

    # -- told by the routes ----------------------------------------------------------------------------

    def note(self, predictor: Predictor, row: Row, answer: Answer) -> None:
        """One row was answered. Call it from the event loop; it costs the request next to nothing."""
        self._notes.append((predictor, row, answer))
        if len(self._notes) == BLOCK:
            asyncio.get_running_loop().call_soon(self._work_off)

    def note_table(self, predictor: Predictor, table: FeatureTable, found: Predictions) -> None:
        """Rows were answered. It may be called from any thread, and counts at once: give big tables in parts."""
        sure = found.probabilities.max(axis=1) if found.probabilities is not None else ()
        if found.given is None:
            counts = np.bincount(found.indices, minlength=len(predictor.classes)).tolist()
            seen = _Seen(dict(zip(predictor.classes, counts, strict=True)), found.indices)
        elif predictor.classes:
            seen = _seen([str(value) for value in found.given], predictor.classes)
        else:
            seen = _Seen({REGRESSION: len(table)})
        self._count(predictor, table, seen, sure)

    def follow(self, predictor: Predictor) -> None:
        """Another model is served from now on: it is compared with its own training rows, from nothing."""
        self._work_off()
        with self._lock:
            self._current = predictor
            self._features = feature_windows(predictor.schema, predictor.reference, self._window_rows)
            self._shares = class_window(predictor.classes, predictor.reference, self._window_rows)
            for label in predictor.classes or (REGRESSION,):
                self._predictions.setdefault(label, 0)
            # What is no column of this model has no series any more.
            self._out_of_range = Counter({name: self._out_of_range[name] for name in self._features})

    # -- asked for -------------------------------------------------------------------------------------

    def report(self) -> DriftReport:
        """How the newest rows compare with those of training. Call it from the event loop."""
        self._work_off()
        with self._lock:
            return DriftReport(
                rows=min((window.rows for window in self._features.values()), default=0),
                features={name: window.score for name, window in self._features.items()},
                predictions=self._shares.score if self._shares is not None else float("nan"),
            )

    def collect(self) -> Iterable[Metric]:
        """The numbers as Prometheus takes them."""
        report = self.report()
        with self._lock:
            reference = self._current.reference if self._current is not None else None
            yield _counter("inference_predictions", "Predictions by predicted class", "class", self._predictions)
            yield _counter(
                "inference_out_of_range",
                "Values outside the range of the training rows",
                "feature",
                {name: self._out_of_range[name] for name in self._features},
            )
            yield self._confidence.family("inference_prediction_confidence", "Probability of the predicted class")
        yield _gauge(
            "inference_drift_score",
            "Population stability index of the newest rows against the training rows; NaN with too few",
            "feature",
            report.features,
        )
        yield _gauge(
            "inference_reference_class_ratio",
            "Share of the class among the training rows",
            "class",
            reference.class_shares if reference is not None else {},
        )
        yield GaugeMetricFamily(
            "inference_prediction_drift_score",
            "Population stability index of the predicted classes against the training rows; NaN with too few",
            value=report.predictions,
        )
        yield GaugeMetricFamily("inference_drift_window_rows", "Rows that are compared", value=report.rows)

    # -- off the request's path ------------------------------------------------------------------------

    def _work_off(self) -> None:
        notes, self._notes = self._notes, []
        for predictor in dict.fromkeys(predictor for predictor, _, _ in notes):
            mine = [(row, answer) for of, row, answer in notes if of is predictor]
            table = FeatureTable.from_rows(predictor.schema, [row for row, _ in mine])
            answers = [answer for _, answer in mine]
            labels = [answer.prediction if isinstance(answer.prediction, str) else REGRESSION for answer in answers]
            sure = [max(answer.probabilities.values()) for answer in answers if answer.probabilities]
            self._count(predictor, table, _seen(labels, predictor.classes), sure)

    def _count(self, predictor: Predictor, table: FeatureTable, seen: "_Seen", sure: Numbers) -> None:
        with self._lock:
            self._predictions.update(seen.counts)
            self._confidence.add(sure)
            if predictor is not self._current:  # answered while a swap came in between
                return
            for name, values in zip(predictor.schema.names, table.columns, strict=True):
                if name in self._features:
                    self._out_of_range[name] += self._features[name].add(values)
            if self._shares is not None:
                self._shares.add(seen.indices)


@dataclass(frozen=True)
class _Seen:
    """Labels of answers.

    Attributes:
        counts: how many there are of each.
        indices: (n,) each label's place among the classes, or one further than these; empty for a regression.
    """

    counts: Mapping[str, int]
    indices: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, dtype=np.intp))


def _seen(labels: Sequence[str], classes: Sequence[str]) -> _Seen:
    places = {name: index for index, name in enumerate(classes)}
    return _Seen(Counter(labels), np.array([places.get(label, len(places)) for label in labels], dtype=np.intp))


def _counter(name: str, documentation: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, documentation, labels=[label])
    for key, count in counts.items():
        family.add_metric([key], count)
    return family


def _gauge(name: str, documentation: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


class _Buckets:
    """A histogram that counts many values at once."""

    def __init__(self, edges: Sequence[float]) -> None:
        self._edges = np.array(edges)
        self._counts = np.zeros(len(edges) + 1, dtype=np.int64)
        self._sum = 0.0

    def add(self, values: Numbers) -> None:
        numbers = np.asarray(values, dtype=np.float64)
        self._counts += np.bincount(np.searchsorted(self._edges, numbers), minlength=len(self._counts))
        self._sum += float(numbers.sum())

    def family(self, name: str, documentation: str) -> HistogramMetricFamily:
        bounds = [*map(floatToGoString, self._edges), "+Inf"]
        buckets = list(zip(bounds, np.cumsum(self._counts).tolist(), strict=True))
        return HistogramMetricFamily(name, documentation, buckets=buckets, sum_value=self._sum)
