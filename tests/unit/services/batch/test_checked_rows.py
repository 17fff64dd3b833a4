"""Valid and invalid rows of a chunk, and rows on which the model fails."""

import numpy as np
import pyarrow as pa
import pytest

from src.core.errors import DataError, ModelFailedError
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.predictions import Predictions
from src.services.batch.checked_rows import CheckedRows, check_rows, predict_rows
from src.services.batch.inputs import Chunk
from src.serving.tables.columns import read_values

SCHEMA = FeatureSchema.of_numbers("x")


class Fragile:
    """Predicts x, and fails on every table with a negative one."""

    classes = ()

    def __init__(self) -> None:
        self.calls = 0

    def predict(self, table: FeatureTable) -> Predictions:
        self.calls += 1
        values = table.columns[0]
        if (values < 0).any():
            raise ModelFailedError("it fails")
        return Predictions(values.tolist())


def chunk(values: list[object], name: str = "x") -> Chunk:
    rows = pa.record_batch({name: pa.array(values)})
    return Chunk(rows, lambda column, cells, problems: read_values(column, cells.to_pylist(), problems))


def checked(*values: float) -> CheckedRows:
    return check_rows(chunk(list(values)), SCHEMA)


def test_all_rows_are_valid() -> None:
    found = checked(1.0, 2.0)
    assert found.table is not None
    assert found.table.columns[0].tolist() == [1.0, 2.0]
    assert (found.places.tolist(), found.problems) == ([0, 1], {})


def test_invalid_rows_are_found_however_many_there_are() -> None:
    values = [float(row) if row % 3 == 0 else None for row in range(900)]
    found = check_rows(chunk(list(values)), SCHEMA)
    assert found.table is not None
    assert found.table.columns[0].tolist() == found.places.tolist() == list(range(0, 900, 3))
    assert set(found.problems) == set(range(900)) - set(range(0, 900, 3))
    assert set(found.problems.values()) == {"x is required"}


def test_chunk_without_a_valid_row_has_no_table() -> None:
    found = check_rows(chunk([None, None]), SCHEMA)
    assert (found.table, found.places.tolist(), sorted(found.problems)) == (None, [], [0, 1])
    assert predict_rows(Fragile(), found) == (None, found)


def test_problem_that_is_of_no_row_is_an_error() -> None:
    with pytest.raises(DataError, match="x is required"):
        check_rows(chunk([1.0], "y"), SCHEMA)


def test_model_that_does_not_fail_predicts_the_chunk_at_once() -> None:
    engine = Fragile()
    found, left = predict_rows(engine, checked(1.0, 2.0, 3.0))
    assert found is not None
    assert list(found.values) == [1.0, 2.0, 3.0]
    assert (left.places.tolist(), left.problems, engine.calls) == ([0, 1, 2], {}, 1)


def test_rows_on_which_the_model_fails_have_its_message_and_the_others_their_prediction() -> None:
    found, left = predict_rows(Fragile(), checked(1.0, -1.0, 3.0, 4.0, -5.0))
    assert found is not None
    assert list(found.values) == [1.0, 3.0, 4.0]
    assert left.places.tolist() == [0, 2, 3]
    assert left.problems == {1: "it fails", 4: "it fails"}


def test_rows_that_fail_are_counted_beside_those_that_are_invalid() -> None:
    rows = check_rows(chunk([None, -1.0, 3.0]), SCHEMA)
    found, left = predict_rows(Fragile(), rows)
    assert found is not None
    assert (list(found.values), left.places.tolist()) == ([3.0], [2])
    assert left.problems == {0: "x is required", 1: "it fails"}


def test_model_may_fail_on_every_row() -> None:
    found, left = predict_rows(Fragile(), checked(-1.0, -2.0))
    assert found is None
    assert (left.places.tolist(), left.problems) == ([], {0: "it fails", 1: "it fails"})


def test_probabilities_of_halves_are_joined_in_order() -> None:
    class Classes(Fragile):
        classes = ("a", "b")  # type: ignore[assignment]

        def predict(self, table: FeatureTable) -> Predictions:
            share = np.array(super().predict(table).values)
            return Predictions(None, np.column_stack([share, 1 - share]), self.classes)

    found, left = predict_rows(Classes(), checked(0.9, -1.0, 0.2))
    assert found is not None
    assert found.values == ["a", "b"]
    assert left.places.tolist() == [0, 2]
