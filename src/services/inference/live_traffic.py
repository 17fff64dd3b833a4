"""What live rows and answers look like: a request leaves a note of them, and all counting is done off its path."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from src.core.feature_table import FeatureTable, Row
from src.core.predictions import Predictions
from src.services.inference.drift import DriftWindow, class_window, feature_windows
from src.services.inference.predictor import Predictor
from src.services.inference.schemas import Answer

# The label of a prediction that is a number.
REGRESSION = ""
CONFIDENCE_EDGES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
BATCH_EDGES = (1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0)
# Notes are worked off in blocks of so many: a fraction of a millisecond.
BLOCK = 256


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
    """Counts predictions, and compares the newest rows with those of training. Use from one event loop.

    Args:
        registry: asks for the numbers when it is scraped.
        window_rows: how many of the newest rows are compared.
    """

    def __init__(self, registry: CollectorRegistry, window_rows: int) -> None:
        self._window_rows = window_rows
        self._notes: list[tuple[Predictor, Row, Answer]] = []
        self._current: Predictor | None = None
        self._features: dict[str, DriftWindow] = {}
        self._shares: DriftWindow | None = None
        self._predictions: Counter[str] = Counter()
        self._out_of_range: Counter[str] = Counter()
        self._confidence = _Buckets(CONFIDENCE_EDGES)
        self._batches = _Buckets(BATCH_EDGES)
        registry.register(self)

    # -- told by the routes ----------------------------------------------------------------------------

    def note(self, predictor: Predictor, row: Row, answer: Answer) -> None:
        """One request's only row was answered."""
        self._notes.append((predictor, row, answer))
        if len(self._notes) == BLOCK:
            asyncio.get_running_loop().call_soon(self._work_off)

    def note_rows(self, predictor: Predictor, rows: Sequence[Row], answers: Sequence[Answer]) -> None:
        """One request's rows were answered."""
        self._batches.add([len(rows)])
        self._take_up(predictor, FeatureTable.from_rows(predictor.schema, rows), answers)

    def note_table(self, predictor: Predictor, table: FeatureTable, found: Predictions, *, whole: int = 0) -> None:
        """A request's rows, or a few thousand of them, were answered; ``whole`` rows make up the request, told once."""
        if whole:
            self._batches.add([whole])
        labels = [str(value) for value in found.values] if predictor.classes else [REGRESSION] * len(table)
        sure = found.probabilities.max(axis=1) if found.probabilities is not None else ()
        self._count(predictor, table, labels, sure)

    def follow(self, predictor: Predictor) -> None:
        """Another model is served from now on: it is compared with its own training rows, from nothing."""
        self._work_off()
        self._current = predictor
        self._features = feature_windows(predictor.schema, predictor.reference, self._window_rows)
        self._shares = class_window(predictor.classes, predictor.reference, self._window_rows)
        for label in predictor.classes or (REGRESSION,):
            self._predictions.setdefault(label, 0)
        # What is no column of this model has no series any more.
        self._out_of_range = Counter({name: self._out_of_range[name] for name in self._features})

    # -- asked for -------------------------------------------------------------------------------------

    def report(self) -> DriftReport:
        """How the newest rows compare with those of training."""
        self._work_off()
        return DriftReport(
            rows=min((window.rows for window in self._features.values()), default=0),
            features={name: window.score for name, window in self._features.items()},
            predictions=self._shares.score if self._shares is not None else float("nan"),
        )

    def collect(self) -> Iterable[Metric]:
        """The numbers as Prometheus takes them."""
        report = self.report()
        predictions = CounterMetricFamily("inference_predictions", "Predictions by predicted class", labels=["class"])
        for label, count in self._predictions.items():
            predictions.add_metric([label], count)
        outside = CounterMetricFamily(
            "inference_out_of_range", "Values outside the range of the training rows", labels=["feature"]
        )
        drift = GaugeMetricFamily(
            "inference_drift_score",
            "Population stability index of the newest rows against the training rows; NaN with too few rows",
            labels=["feature"],
        )
        for name, score in report.features.items():
            outside.add_metric([name], self._out_of_range[name])
            drift.add_metric([name], score)
        ratio = GaugeMetricFamily(
            "inference_reference_class_ratio", "Share of the class among the training rows", labels=["class"]
        )
        for label, share in self._reference_shares().items():
            ratio.add_metric([label], share)
        yield from (predictions, outside, drift, ratio)
        yield GaugeMetricFamily(
            "inference_prediction_drift_score",
            "Population stability index of the predicted classes against the training rows; NaN with too few rows",
            value=report.predictions,
        )
        yield GaugeMetricFamily("inference_drift_window_rows", "Rows that are compared", value=report.rows)
        yield self._confidence.family("inference_prediction_confidence", "Probability of the predicted class")
        yield self._batches.family("inference_batch_rows", "Rows per request for many")

    # -- off the request's path ------------------------------------------------------------------------

    def _work_off(self) -> None:
        notes, self._notes = self._notes, []
        for predictor in dict.fromkeys(predictor for predictor, _, _ in notes):
            mine = [(row, answer) for of, row, answer in notes if of is predictor]
            table = FeatureTable.from_rows(predictor.schema, [row for row, _ in mine])
            self._take_up(predictor, table, [answer for _, answer in mine])

    def _take_up(self, predictor: Predictor, table: FeatureTable, answers: Sequence[Answer]) -> None:
        labels = [answer.prediction if isinstance(answer.prediction, str) else REGRESSION for answer in answers]
        sure = [max(answer.probabilities.values()) for answer in answers if answer.probabilities]
        self._count(predictor, table, labels, sure)

    def _count(
        self, predictor: Predictor, table: FeatureTable, labels: Sequence[str], sure: "Sequence[float] | NDArray[Any]"
    ) -> None:
        self._predictions.update(labels)
        self._confidence.add(sure)
        if predictor is not self._current:  # answered while a swap came in between
            return
        for (name, window), values in zip(self._features.items(), table.columns, strict=True):
            self._out_of_range[name] += window.add(values)
        if self._shares is not None:
            self._shares.add(np.array(labels, dtype=object))

    def _reference_shares(self) -> dict[str, float]:
        reference = self._current.reference if self._current is not None else None
        return reference.class_shares if reference is not None else {}


class _Buckets:
    """A histogram that counts many values at once."""

    def __init__(self, edges: Sequence[float]) -> None:
        self._edges = np.array(edges)
        self._counts = np.zeros(len(edges) + 1, dtype=np.int64)
        self._sum = 0.0

    def add(self, values: "Sequence[float] | NDArray[Any]") -> None:
        numbers = np.asarray(values, dtype=np.float64)
        self._counts += np.bincount(np.searchsorted(self._edges, numbers), minlength=len(self._counts))
        self._sum += float(numbers.sum())

    def family(self, name: str, documentation: str) -> HistogramMetricFamily:
        bounds = [*map(floatToGoString, self._edges), "+Inf"]
        buckets = list(zip(bounds, np.cumsum(self._counts).tolist(), strict=True))
        return HistogramMetricFamily(name, documentation, buckets=buckets, sum_value=self._sum)
