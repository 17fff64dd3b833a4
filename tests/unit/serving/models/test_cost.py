from typing import Literal

import numpy as np
import pytest

from src.core.errors import InvalidModelError, ModelFailedError
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.predictions import Predictions
from src.serving.models.predictor import ROUNDS, TABLE_ROWS, Cost

SCHEMA = FeatureSchema.of_numbers("x")


class Timed:
    """A regression that takes its time on a clock of its own, and refuses negative rows."""

    name: Literal["pyfunc"] = "pyfunc"
    classes: tuple[str, ...] = ()

    def __init__(self, call: float, per_row: float, *, first: float = 0.0, lone: float = 0.0) -> None:
        self.now = 0.0
        self._call, self._per_row, self._first, self._lone = call, per_row, first, lone
        self.sizes: list[int] = []

    def clock(self) -> float:
        return self.now

    def predict(self, table: FeatureTable) -> Predictions:
        self.now += self._call + self._per_row * len(table) + (0 if self.sizes else self._first)
        self.now += self._lone if len(table) == 1 else 0
        self.sizes.append(len(table))
        values = table.matrix(np.float64)[:, 0]
        if (values < 0).any():
            raise ModelFailedError("negative")
        return Predictions(values.tolist())


@pytest.mark.parametrize("rows", [1, 3, 20, 300])
def test_call_and_row_are_distinguished_however_few_rows_there_are(rows: int) -> None:
    model = Timed(0.004, 0.00002, first=1.0)
    cost = Cost.measured(model, SCHEMA, [(float(row),) for row in range(rows)], model.clock)
    assert cost.call == pytest.approx(0.004)
    assert cost.per_row == pytest.approx(0.00002)
    assert max(model.sizes) == max(rows, TABLE_ROWS)


def test_single_rows_that_were_held_up_do_not_make_a_row_dear_or_free() -> None:
    model = Timed(0.004, 0.00002, lone=0.2)
    cost = Cost.measured(model, SCHEMA, [(1.0,)], model.clock)
    assert 0.000001 < cost.per_row < 0.00002


def test_slow_model_is_measured_in_fewer_rounds() -> None:
    quick, slow = Timed(0.001, 0), Timed(1.0, 0)
    Cost.measured(quick, SCHEMA, [(1.0,)], quick.clock)
    Cost.measured(slow, SCHEMA, [(1.0,)], slow.clock)
    assert len(quick.sizes) == 2 * ROUNDS
    assert len(slow.sizes) == 4


def test_model_that_fails_on_its_example_is_refused() -> None:
    model = Timed(0.001, 0)
    with pytest.raises(InvalidModelError, match="its own example: negative"):
        Cost.measured(model, SCHEMA, [(1.0,), (-1.0,)], model.clock)
