import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from src.core.errors import ConfigError
from src.training import size_estimate as module
from src.training.estimators import with_names
from src.training.size_estimate import (
    BASE_BYTES,
    MEMORY_FACTOR,
    ROW_COPIES,
    VERSION_FACTOR,
    Estimate,
    estimate_of,
    require_room,
)

RANDOM = np.random.default_rng(0)
ROWS = pd.DataFrame(RANDOM.normal(size=(4000, 5)), columns=list("abcde"))
TARGET = np.where(ROWS["a"] + RANDOM.normal(size=4000) > 0, "yes", "no").astype(object)


@pytest.fixture(autouse=True)
def _few_rows_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_ROWS", 4000)


class Pairs(ClassifierMixin, BaseEstimator):
    """Keeps a number for every other row and every other row."""

    def __init__(self, n_estimators: int | None = None, max_depth: int | None = None) -> None:
        self.n_estimators = n_estimators
        self.max_depth = max_depth

    def fit(self, rows: Any, target: Any) -> "Pairs":
        self.kept_ = np.zeros((len(rows) // 2, len(rows) // 2), dtype=np.int8)
        self.classes_ = np.unique(target)
        return self


def factor(estimator: Any) -> float:
    """The estimated size of a model by its true one."""
    model = Pipeline([("estimator", estimator)])
    found = estimate_of(model, ROWS, TARGET)
    assert found is not None
    true = len(pickle.dumps(model.fit(ROWS, TARGET)))
    assert found.memory_bytes == pytest.approx(
        BASE_BYTES + MEMORY_FACTOR * found.version_bytes / VERSION_FACTOR + ROW_COPIES * 4000 * 5 * 8, rel=1e-5
    )
    return found.version_bytes / VERSION_FACTOR / true


@pytest.mark.parametrize(
    ("estimator", "least", "most"),
    [
        (RandomForestClassifier(40, random_state=0), 0.8, 1.3),
        (RandomForestClassifier(2, random_state=0), 0.7, 1.2),
        (RandomForestClassifier(40, max_depth=6, random_state=0), 0.8, 2.0),
        (with_names(RandomForestClassifier(40, random_state=0)), 0.8, 1.3),
        (GradientBoostingClassifier(n_estimators=40, random_state=0), 0.7, 3.0),
        (LogisticRegression(max_iter=1000), 0.9, 1.1),
        (Pairs(), 0.8, 1.1),
    ],
)
def test_estimate_is_near_the_true_size(estimator: Any, least: float, most: float) -> None:
    assert least < factor(estimator) < most


def test_few_rows_need_no_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Pipeline([("estimator", RandomForestClassifier(2))])
    monkeypatch.setattr(module, "MIN_ROWS", 4001)
    assert estimate_of(model, ROWS, TARGET) is None


def test_small_fits_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    fits: list[tuple[int, int]] = []
    real = RandomForestClassifier.fit

    def fit(self: Any, rows: Any, target: Any, **weights: Any) -> Any:
        fits.append((self.n_estimators, len(rows)))
        return real(self, rows, target, **weights)

    monkeypatch.setattr(RandomForestClassifier, "fit", fit)
    estimate_of(Pipeline([("estimator", RandomForestClassifier(100))]), ROWS, TARGET)
    assert fits == [(4, 250), (4, 1000)]


def test_room_is_required_up_to_the_limits() -> None:
    estimate = Estimate(version_bytes=500e6, memory_bytes=2e9)
    require_room(estimate, 500e6, 2e9)
    with pytest.raises(
        ConfigError, match=r"about 500 MB and .* 2,000 MB of memory; model.max_megabytes is 499; set max_d"
    ):
        require_room(estimate, 499e6, 2e9)
    with pytest.raises(ConfigError, match=r"2,000 MB of memory and .* 500 MB; 1,999 MB are available; .*TRAIN_MEMORY"):
        require_room(estimate, 500e6, 1.999e9)
