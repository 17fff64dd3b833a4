"""Separates the valid rows of a chunk from those with problems."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from src.core.errors import DataError, ModelFailedError
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.predictions import Engine, Predictions
from src.services.batch.inputs import Chunk
from src.serving.tables.parts import Rows, part_of


class CheckedRows(NamedTuple):
    """The valid rows of a chunk of n rows.

    Attributes:
        table: the valid rows; None if there are none.
        places: (valid,) their indices in the chunk, ascending.
        problems: the first problem of each other row, by its index.
    """

    table: FeatureTable | None
    places: NDArray[np.intp]
    problems: dict[int, str]


def check_rows(chunk: Chunk, schema: FeatureSchema) -> CheckedRows:
    """Check every row by the rules of ``POST /predict``.

    Raises:
        DataError: a problem that is not of one row.
    """
    problems: dict[int, str] = {}
    places = np.arange(chunk.rows.num_rows)
    while len(places):
        rows = chunk.rows if not problems else chunk.rows.take(pa.array(places))
        columns = {name: rows.column(name) for name in schema.names if name in rows.schema.names}
        part = part_of(schema, columns, len(places), chunk.read, {})
        if isinstance(part, Rows):
            return CheckedRows(part.table, places, problems)
        for problem in part.problems:  # the first ones: the other rows are checked again
            if problem.row is None:
                raise DataError(str(problem))
            problems.setdefault(int(places[problem.row]), str(problem))
        places = np.array([place for place in places.tolist() if place not in problems], dtype=np.intp)
    return CheckedRows(None, places, problems)


def predict_rows(engine: Engine, checked: CheckedRows) -> tuple[Predictions | None, CheckedRows]:
    """Predict the valid rows; a row on which the model fails becomes one with a problem.

    Returns:
        the predictions, in the order of ``places``, and what is left of the valid rows.
    """
    if checked.table is None:
        return None, checked
    good: list[int] = []
    failed: dict[int, str] = {}
    found = _predict(engine, checked.table, 0, good, failed)
    problems = checked.problems | {int(checked.places[index]): text for index, text in failed.items()}
    left = checked._replace(places=checked.places[good], problems=problems)
    return (Predictions.joined(found) if found else None), left


def _predict(
    engine: Engine, table: FeatureTable, first: int, good: list[int], failed: dict[int, str]
) -> list[Predictions]:
    """The predictions of the rows on which the model does not fail; halves are tried where it does."""
    try:
        found = engine.predict(table)
    except ModelFailedError as error:
        if len(table) == 1:
            failed[first] = str(error)
            return []
        half = len(table) // 2
        left = _predict(engine, table.part(0, half), first, good, failed)
        return left + _predict(engine, table.part(half, len(table)), first + half, good, failed)
    good.extend(range(first, first + len(table)))
    return [found]
