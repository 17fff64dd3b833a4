"""Drift: whether the newest rows have the distribution of the training rows."""

import math
import threading
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.core.feature_table import FeatureTable
from src.serving.models.predictor import Predictor
from src.serving.watch.references import Keys, class_reference, feature_references
from src.serving.watch.two_sample import Comparison

# With fewer rows, only the largest changes would be detected.
MIN_ROWS = 200
# False alarms per window without drift, over all features of a model and its predictions. Half of the documented rate,
# because the test's p-values are approximations.
FALSE_ALARMS = 0.0005
# A smaller excess is not drift, however significant: a tenth of the rows, or a fifth of a standard deviation.
LARGE = 0.05


class Drift(NamedTuple):
    """The distance of one column from training beyond chance (0: none; NaN with fewer than ``MIN_ROWS`` rows).

    It has ``drifted`` if the distance is large, and significant over all columns of the model.
    """

    score: float
    drifted: bool

    @property
    def flag(self) -> float:
        """As a gauge: 1 drifted, 0 not, NaN with too few rows."""
        return math.nan if math.isnan(self.score) else float(self.drifted)

    @property
    def level(self) -> str:
        """In a word; ``watch`` is large, but not significant over all columns of the model."""
        if math.isnan(self.score):
            return "waiting"
        if self.drifted:
            return "drifted"
        return "watch" if self.score >= LARGE else "stable"

    @classmethod
    def of(cls, comparison: Comparison, tests: int) -> "Drift":
        """The drift by one of so many comparisons (Bonferroni 1936)."""
        significant = comparison.p_value * tests <= FALSE_ALARMS
        return cls(comparison.excess, drifted=significant and comparison.excess >= LARGE)


NO_DRIFT = Drift(math.nan, drifted=False)


class DriftReport(NamedTuple):
    """The drift of the newest rows, by feature, and of their predicted classes: ``NO_DRIFT`` if there are none."""

    rows: int
    features: dict[str, Drift]
    predictions: Drift


class ModelWindow:
    """The newest rows of one model, at most ``size``, compared with the references of its ``features``."""

    def __init__(self, predictor: Predictor, size: int) -> None:
        recorded, schema = predictor.reference, predictor.schema
        self.predictor = predictor
        self.features = feature_references(schema, recorded) if recorded else {}
        self.size = size
        classes = class_reference(predictor.classes, len(schema.columns), recorded) if recorded else None
        self.references = [*self.features.values(), *([classes] if classes else [])]
        self._keys = np.zeros((len(self.references), size), dtype=np.int64)
        self._added = 0
        self._lock = threading.Lock()

    def keys_of(self, table: FeatureTable, labels: NDArray[np.intp], positions: NDArray[np.intp]) -> Keys:
        """The keys of the rows at these positions, shape (references, positions).

        ``labels`` are the rows' predicted classes, shape (n,); they are not read for a regression.
        """
        columns = [*table.columns, labels]
        keys = [reference.keys_of(columns[reference.place][positions]) for reference in self.references]
        return np.array(keys, dtype=np.int64).reshape(len(keys), len(positions))

    def add(self, keys: Keys) -> None:
        """Add at most ``size`` rows by their keys, shape (references, rows); they replace the oldest ones."""
        rows = keys.shape[1]
        with self._lock:
            self._keys[:, (self._added + np.arange(rows)) % self.size] = keys
            self._added += rows

    def report(self) -> DriftReport:
        """Test all columns; the false alarm rate is shared among them."""
        with self._lock:
            rows, window = min(self._added, self.size), self._keys.copy()
        found, tests = [NO_DRIFT] * len(self.references), len(self.references)
        if rows >= MIN_ROWS:
            compared = zip(self.references, window[:, :rows], strict=True)
            found = [Drift.of(reference.compare(keys), tests) for reference, keys in compared]
        return DriftReport(
            rows=rows if self.features else 0,
            features=dict(zip(self.features, found, strict=False)),
            predictions=found[-1] if tests > len(self.features) else NO_DRIFT,
        )


class Batch:
    """A batch that is predicted in parts, with a random sample of its rows for the model's window. Not thread-safe.

    It is a bottom-k sample (Cohen and Kaplan, PODC 2007), which depends neither on the rows' order nor on the parts. It
    is in random order, so that each slice of it is a random sample.
    """

    def __init__(self, window: ModelWindow) -> None:
        self.window = window
        self._ranks: NDArray[np.float64] = np.empty(0)
        self._keys: Keys = np.empty((len(window.references), 0), dtype=np.int64)

    def add(self, ranks: NDArray[np.float64], table: FeatureTable, labels: NDArray[np.intp]) -> None:
        """Consider the next rows; ``ranks`` are independent and uniform, shape (n,)."""
        size = self.window.size
        chosen = np.flatnonzero(ranks < (self._ranks[-1] if len(self._ranks) == size else math.inf))
        if len(chosen) > size:
            chosen = chosen[np.argpartition(ranks[chosen], size)[:size]]
        keys = np.concatenate([self._keys, self.window.keys_of(table, labels, chosen)], axis=1)
        self._ranks = np.concatenate([self._ranks, ranks[chosen]])
        order = np.argsort(self._ranks)[:size]
        self._ranks, self._keys = self._ranks[order], keys[:, order]

    def end(self) -> None:
        """The sample enters the window.

        Not earlier, because rows are often sorted, and not at all if the client disconnected before the end.
        """
        self.window.add(self._keys)
