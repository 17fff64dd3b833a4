"""Measures the duration of a model's predictions, by which the service decides which calls run on the event loop."""

import time
from collections.abc import Callable, Sequence

from src.core.errors import InvalidModelError, ModelFailedError
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable, Row
from src.core.predictions import Engine
from src.serving.models.predictor import Cost
from src.serving.tables.answers import answers_of

ROUNDS = 20
# The most seconds for measuring single rows, and as many again for tables: a slow model gets fewer rounds.
MEASURING_SECONDS = 0.2
# With so many rows, the cost per row can be separated from the cost per call.
TABLE_ROWS = 256
# The least marginal cost of a row, as a share of its cost in a table: on a busy machine a single row may seem as slow.
LEAST_SHARE = 0.1
# The cost assumed for a model without rows to measure it with.
UNKNOWN_COST = Cost(0.05, 0.0001)


def measured_cost(
    engine: Engine, schema: FeatureSchema, rows: Sequence[Row], clock: Callable[[], float] = time.perf_counter
) -> Cost:
    """Measure an engine's predictions, which also warms it up for the first request.

    Args:
        rows: at least one row that the model can predict.
        clock: monotonic seconds.

    Raises:
        InvalidModelError: it fails on them, one by one or together.
    """
    many = (list(rows) * TABLE_ROWS)[: max(TABLE_ROWS, len(rows))]
    try:
        alone = _fastest(engine, [FeatureTable.from_rows(schema, [row]) for row in rows], clock)
        together = _fastest(engine, [FeatureTable.from_rows(schema, many)], clock)
    except ModelFailedError as error:
        raise InvalidModelError(f"the model fails on its own example: {error}") from error
    except Exception as error:  # a graph or class list of another shape fails in many ways
        raise InvalidModelError("the model fails on a single row") from error
    per_row = max((together - alone) / (len(many) - 1), LEAST_SHARE * together / len(many))
    return Cost(max(alone - per_row, 0.0), per_row)


def _fastest(engine: Engine, tables: Sequence[FeatureTable], clock: Callable[[], float]) -> float:
    """The shortest time, in seconds, of several calls with these tables in turn."""
    began = clock()
    fastest = float("inf")
    for turn in range(ROUNDS):
        started = clock()
        answers_of(engine.predict(tables[turn % len(tables)]), engine.classes)
        ended = clock()
        fastest = min(fastest, ended - started)
        # At least two rounds, as the first call may include the warm-up.
        if turn and ended - began > MEASURING_SECONDS:
            break
    return fastest
