"""The columns a model takes, in order, as its MLflow signature states them."""

import json
from dataclasses import dataclass

from src.core.errors import InvalidModelError

NUMERIC_TYPES = frozenset({"double", "float", "long", "integer"})


@dataclass(frozen=True)
class FeatureSchema:
    """Names of a model's numeric input columns, in the order of its input matrix."""

    columns: tuple[str, ...]

    @classmethod
    def from_signature(cls, inputs_json: str) -> "FeatureSchema":
        """Read the ``inputs`` of an MLflow signature: JSON, a list of ``{"name", "type", "required"}``.

        Raises:
            InvalidModelError: the signature is not a list of named, required, numeric columns.
        """
        try:
            inputs = json.loads(inputs_json)
            columns = tuple(str(column["name"]) for column in inputs)
            types = {str(column["type"]) for column in inputs}
            required = all(column.get("required", True) for column in inputs)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InvalidModelError("the model's signature does not list named columns") from error
        if not columns or len(set(columns)) != len(columns):
            raise InvalidModelError("the model's signature must list columns of different names")
        if not types <= NUMERIC_TYPES or not required:
            raise InvalidModelError("serving takes required numeric columns only; the model's signature has others")
        return cls(columns)
