"""Golden rows: rows with the model's predictions at training time, which a loaded copy must reproduce."""

import numpy as np
from pydantic import BaseModel, ConfigDict

from src.core.errors import InvalidModelError
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable, Value
from src.core.predictions import TOLERANCE, Engine, values_agree


class GoldenRows(BaseModel):
    """Rows and predictions.

    ``rows`` is (n, columns) in the signature's order; ``labels`` is (n,) and ``probabilities`` (n, classes) for a
    classification, and ``values`` is (n,) for a regression; the others are empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: list[list[Value]]
    labels: list[str] = []
    probabilities: list[list[float]] = []
    values: list[float] = []

    def table(self, schema: FeatureSchema) -> FeatureTable:
        """The rows as a table.

        Raises:
            InvalidModelError: they do not have the schema's columns.
        """
        if not all(len(row) == len(schema.columns) for row in self.rows):
            raise InvalidModelError("the model's golden rows and its signature differ in their columns")
        return FeatureTable.from_rows(schema, [tuple(row) for row in self.rows])

    def verify(self, engine: Engine, schema: FeatureSchema) -> None:
        """Verify an engine's predictions for the rows.

        Raises:
            InvalidModelError: there are no rows, or the predictions differ from those at training time.
        """
        if not self.rows:
            raise InvalidModelError("the model has no golden rows")
        table = self.table(schema)
        try:
            wrong = not self._are_answered(engine, table)
        except Exception as error:  # a graph of another shape raises errors of many types
            raise InvalidModelError("the model fails on its golden rows") from error
        if wrong:
            raise InvalidModelError("the model's predictions for its golden rows differ from those at training time")

    def _are_answered(self, engine: Engine, table: FeatureTable) -> bool:
        found = engine.predict(table)
        if not engine.classes:
            return bool(values_agree(np.array(self.values), np.asarray(found.values, dtype=np.float64)).all())
        same = [str(value) for value in found.values] == self.labels
        if found.probabilities is None:
            return same
        return same and np.allclose(found.probabilities, self.probabilities, rtol=0, atol=TOLERANCE)
