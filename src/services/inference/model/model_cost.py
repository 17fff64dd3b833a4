"""Measures what a model's answers cost, so that the service knows which calls may hold up its event loop."""

import time
from collections.abc import Callable, Sequence

from src.core.errors import InvalidModelError, ModelFailedError
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable, Row
from src.core.predictions import Engine
from src.services.inference.formats.schemas import answers_of
from src.services.inference.model.predictor import Cost

ROUNDS = 20
# A slow model is measured in fewer rounds: so many seconds for single rows, and as many for a table.
MEASURING_SECONDS = 0.2
# So many rows tell a row's share from what every call costs.
TABLE_ROWS = 256
# A row costs at least this part of what it costs in a table: a busy machine may make a single row look as slow as that.
LEAST_SHARE = 0.1
# Of a model that brought no row to measure it with.
UNKNOWN_COST = Cost(0.05, 0.0001)


def measured_cost(
    engine: Engine, schema: FeatureSchema, rows: Sequence[Row], clock: Callable[[], float] = time.perf_counter
) -> Cost:
    """What an engine's answers cost; also makes the first request as fast as the others.

    Args:
        rows: at least one that the model can answer.
        clock: tells seconds.

    Raises:
        InvalidModelError: it cannot answer them, one by one or together.
    """
    many = (list(rows) * TABLE_ROWS)[: max(TABLE_ROWS, len(rows))]
    try:
        alone = _fastest(engine, [FeatureTable.from_rows(schema, [row]) for row in rows], clock)
        together = _fastest(engine, [FeatureTable.from_rows(schema, many)], clock)
    except ModelFailedError as error:
        raise InvalidModelError(f"the model cannot answer its own example: {error}") from error
    except Exception as error:  # a graph or class list of another shape fails in many ways, all meaning this
        raise InvalidModelError("the model cannot answer a single row") from error
    per_row = max((together - alone) / (len(many) - 1), LEAST_SHARE * together / len(many))
    return Cost(max(alone - per_row, 0.0), per_row)


def _fastest(engine: Engine, tables: Sequence[FeatureTable], clock: Callable[[], float]) -> float:
    """The least seconds of several calls with these tables in turn."""
    began = clock()
    fastest = float("inf")
    for turn in range(ROUNDS):
        started = clock()
        answers_of(engine.predict(tables[turn % len(tables)]), engine.classes)
        ended = clock()
        fastest = min(fastest, ended - started)
        # One that may have had to warm up first is no measure.
        if turn and ended - began > MEASURING_SECONDS:
            break
    return fastest
