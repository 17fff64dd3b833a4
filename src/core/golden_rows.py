"""Rows with the answers that a model gave at training time; a loaded copy must give them again."""

import numpy as np
from pydantic import BaseModel, ConfigDict

from src.core.errors import InvalidModelError
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable, Value
from src.core.predictions import TOLERANCE, Engine, values_agree


class GoldenRows(BaseModel):
    """Rows and answers.

    ``rows`` is (n, columns) in the signature's order; ``labels`` is (n,) and ``probabilities`` (n, classes) for a
    classification, and ``values`` (n,) for a regression; what does not apply is empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: list[list[Value]]
    labels: list[str] = []
    probabilities: list[list[float]] = []
    values: list[float] = []

    def table(self, schema: FeatureSchema) -> FeatureTable:
        """The rows as an engine takes them.

        Raises:
            InvalidModelError: they do not have the schema's columns.
        """
        if not all(len(row) == len(schema.columns) for row in self.rows):
            raise InvalidModelError("the model's golden rows and its signature differ in their columns")
        return FeatureTable.from_rows(schema, [tuple(row) for row in self.rows])

    def verify(self, engine: Engine, schema: FeatureSchema) -> None:
        """Have an engine answer the rows.

        Raises:
            InvalidModelError: there are none, or the answers are not those of training time.
        """
        if not self.rows:
            raise InvalidModelError("the model brings no golden rows")
        table = self.table(schema)
        try:
            wrong = not self._are_answered(engine, table)
        except Exception as error:  # a graph of another shape fails in many ways, all meaning this
            raise InvalidModelError("the model cannot answer its golden rows") from error
        if wrong:
            raise InvalidModelError("the model's answers to its golden rows are not those of training time")

    def _are_answered(self, engine: Engine, table: FeatureTable) -> bool:
        found = engine.predict(table)
        if not engine.classes:
            return bool(values_agree(np.array(self.values), np.asarray(found.values, dtype=np.float64)).all())
        same = [str(value) for value in found.values] == self.labels
        if found.probabilities is None:
            return same
        return same and np.allclose(found.probabilities, self.probabilities, rtol=0, atol=TOLERANCE)
