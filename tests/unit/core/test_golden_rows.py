"""Golden rows detect a model that differs from the trained one."""

import numpy as np
import pytest

from src.core.errors import InvalidModelError
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.golden_rows import GoldenRows
from src.core.predictions import Predictions, values_agree

SCHEMA = FeatureSchema.of_numbers("a", "b")
ROWS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
PROBABILITIES = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]
GOLDEN = GoldenRows(rows=ROWS, labels=["ash", "birch", "ash"], probabilities=PROBABILITIES)
NUMBERS = GoldenRows(rows=ROWS, values=[1000.0, 0.5, -2.0])


class Known:
    """Predicts for the golden rows as at training time, shifted."""

    name = "onnx"

    def __init__(self, classes: tuple[str, ...] = ("ash", "birch"), shift: float = 0.0, *, sure: bool = True) -> None:
        self.classes = classes
        self._shift = shift
        self._sure = sure

    def predict(self, table: FeatureTable) -> Predictions:
        matrix = table.matrix(np.float64)
        assert matrix.tolist() == ROWS
        if not self.classes:
            return Predictions([value * (1 + self._shift) for value in NUMBERS.values])
        probabilities = np.array(PROBABILITIES) + self._shift
        return Predictions(GOLDEN.labels, probabilities if self._sure else None)


@pytest.mark.parametrize("engine", [Known(), Known(shift=5e-6), Known(sure=False)])
def test_the_answers_of_training_time_are_accepted(engine: Known) -> None:
    GOLDEN.verify(engine, SCHEMA)


def test_a_regression_may_differ_by_rounding_only() -> None:
    NUMBERS.verify(Known((), 5e-6), SCHEMA)
    with pytest.raises(InvalidModelError, match="differ from those at training time"):
        NUMBERS.verify(Known((), 1e-4), SCHEMA)


def test_a_regression_is_measured_by_its_own_scale() -> None:
    expected = np.array([2e-6, 1e-6])
    assert values_agree(expected, expected * (1 + 5e-6)).all()
    assert values_agree(expected, expected * (1 + 1e-4)).tolist() == [False, False]
    # Leaves of a million that cancel out leave rounding errors relative to a million.
    assert values_agree(np.array([1e6, 0.5]), np.array([1e6, 0.7])).all()
    assert values_agree(np.array([1e6, 0.5]), np.array([1e6, 9.0])).tolist() == [True, False]
    assert not values_agree(np.array([1.0]), np.array([np.nan])).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["birch", "birch", "ash"]}, "differ from those at training time"),
        ({"labels": ["ash", "birch"]}, "differ from those at training time"),
        ({"probabilities": [[0.9001, 0.0999], [0.2, 0.8], [0.6, 0.4]]}, "differ from those at training time"),
        ({"probabilities": [[1.0, 0.0, 0.0]] * 3}, "fails on its golden rows"),
        ({"rows": []}, "has no golden rows"),
        ({"rows": [[1.0, 2.0, 3.0]] * 3}, "differ in their columns"),
        ({"rows": [[1.0], [1.0, 2.0], [1.0, 2.0]]}, "differ in their columns"),
        ({"rows": [["x", 2.0]] * 3}, "fails on its golden rows"),
    ],
)
def test_other_rows_or_answers_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidModelError, match=message):
        GOLDEN.model_copy(update=change).verify(Known(), SCHEMA)
