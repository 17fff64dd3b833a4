"""The windows of one model: of its features and of its predicted classes."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.core.feature_table import FeatureTable
from src.serving.models.predictor import Predictor
from src.serving.watch.batch_sample import Keys
from src.serving.watch.drift import Drift, class_window, feature_windows


@dataclass(frozen=True)
class DriftReport:
    """The newest rows compared with the training rows.

    Attributes:
        rows: the number of compared rows.
        features: drift by the feature's name.
        predictions: drift of the predicted classes; its score is NaN if there are none.
    """

    rows: int
    features: dict[str, Drift]
    predictions: Drift


class ModelWindows:
    """The newest rows that a model predicted, compared with its training rows.

    Args:
        predictor: the model.
        size: the number of compared rows.
    """

    def __init__(self, predictor: Predictor, size: int) -> None:
        self.features = feature_windows(predictor.schema, predictor.reference, size)
        self.size = size
        self._classes = class_window(predictor.classes, predictor.reference, size)
        places = {name: place for place, name in enumerate(predictor.schema.names)}
        self._columns = {name: places[name] for name in self.features}

    def values(self, table: FeatureTable, name: str) -> NDArray[Any]:
        """(n,) a feature's values."""
        return table.columns[self._columns[name]]

    def keys(self, table: FeatureTable, labels: NDArray[np.intp], positions: NDArray[np.intp]) -> Keys:
        """The keys of some rows, shape (windows, positions).

        Args:
            table: the rows.
            labels: (n,) each row's predicted class; not read for a regression.
            positions: the rows' positions in the table.
        """
        keys = [window.keys_of(self.values(table, name)[positions]) for name, window in self.features.items()]
        if self._classes is not None:
            keys.append(labels[positions].astype(np.int64))
        return np.array(keys, dtype=np.int64).reshape(len(keys), len(positions))

    def add(self, keys: Keys) -> None:
        """Add rows by their keys, oldest first, shape (windows, rows)."""
        windows = [*self.features.values(), *([self._classes] if self._classes is not None else [])]
        for window, values in zip(windows, keys, strict=True):
            window.add(values)

    def report(self) -> DriftReport:
        """Test all windows; the false alarm rate is shared among them."""
        tests = len(self.features) + (self._classes is not None)
        return DriftReport(
            rows=min((window.rows for window in self.features.values()), default=0),
            features={name: Drift.of(window.compare(), tests) for name, window in self.features.items()},
            predictions=Drift.of(self._classes.compare(), tests) if self._classes is not None else NO_DRIFT,
        )


NO_DRIFT = Drift(math.nan, drifted=False)
