"""Models for tests of the shadow: the served version and the one before it."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

from src.core.feature_schema import Column, FeatureSchema
from src.core.feature_table import FeatureTable, Row
from src.core.prediction_log import Role
from src.core.predictions import Predictions
from src.serving.models.predictor import Cost
from src.serving.tables.answers import Answer, answers_of

SCHEMA = FeatureSchema((Column("x"),))
CLASSES = ("a", "b")


class Model:
    """As much of a predictor as the shadow reads; it answers with the class that it prefers.

    Attributes:
        fails: on every row.
        fails_above: on rows with a larger value.
        on_call: called with each prediction.
        rows: predicted so far.
    """

    def __init__(self, version: str, prefers: str = "a", schema: FeatureSchema = SCHEMA, cost: float = 1e-6) -> None:
        self.schema, self.classes, self.prefers = schema, CLASSES, prefers
        self.cost = Cost(0.0, cost)
        self.engine = self
        self.role = Role.CHAMPION
        self.version: Any = type("Version", (), {"name": "iris", "version": version})
        self.fails = False
        self.on_call: Callable[[], object] = lambda: None
        self.rows = 0
        self.fails_above = float("inf")

    def predict(self, table: FeatureTable) -> Predictions:
        self.rows += len(table)
        self.on_call()
        if self.fails or max(table.columns[0]) > self.fails_above:
            raise ValueError("made up")
        shares = [0.75, 0.25] if self.prefers == "a" else [0.25, 0.75]
        return Predictions(None, np.array([shares] * len(table)), CLASSES)

    def answer(self, rows: list[Row]) -> list[Answer]:
        return answers_of(self.predict(FeatureTable.from_rows(self.schema, rows)), self.classes)

    @staticmethod
    def exclusive() -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()
