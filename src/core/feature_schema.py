"""A model's input columns, in order, with their types: from its MLflow signature and metadata."""

import json
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from src.core.errors import InvalidModelError


class ColumnType(StrEnum):
    """The type of a column's values: a finite number, an integer, a boolean, text, or a date.

    A table holds a date as days since 1970-01-01 UTC; in the signature it is a number.
    """

    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    STRING = "string"
    DATE = "date"


# MLflow's column types that a flat JSON record can hold; not bytes, arrays and objects.
TYPES = {
    "double": ColumnType.NUMBER,
    "float": ColumnType.NUMBER,
    "long": ColumnType.INTEGER,
    "integer": ColumnType.INTEGER,
    "boolean": ColumnType.BOOLEAN,
    "string": ColumnType.STRING,
}
# A matrix can hold columns of these.
NUMERIC = {ColumnType.NUMBER, ColumnType.INTEGER, ColumnType.DATE}
INTEGER_BITS = {"long": 64, "integer": 32}
# The largest integer that is exact in float64, the type of integer columns with missing values, and that no other
# integer is rounded to.
EXACT_INTEGER = 2**53 - 1


@dataclass(frozen=True)
class Column:
    """One input column.

    Attributes:
        required: whether every row must have a value; otherwise it may be missing (null).
        mlflow_type: the type's name in the signature, such as ``double``.
        values: a text column's categories in training; empty where they are unknown.
    """

    name: str
    type: ColumnType = ColumnType.NUMBER
    required: bool = True
    mlflow_type: str = "double"
    values: tuple[str, ...] = ()

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest value of an integer column that are exact in every table."""
        bits = INTEGER_BITS[self.mlflow_type]
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        return (low, high) if self.required else (max(low, -EXACT_INTEGER), min(high, EXACT_INTEGER))

    @cached_property
    def known(self) -> frozenset[str]:
        """``values`` as a set."""
        return frozenset(self.values)


@dataclass(frozen=True)
class FeatureSchema:
    """A model's input columns, in the order of its input.

    Attributes:
        ids: columns that identified the training rows and are not inputs.
    """

    columns: tuple[Column, ...]
    ids: tuple[str, ...] = ()

    @classmethod
    def of_numbers(cls, *names: str) -> "FeatureSchema":
        """A schema of required numbers."""
        return cls(tuple(Column(name) for name in names))

    @classmethod
    def from_signature(cls, inputs_json: str) -> "FeatureSchema":
        """Read the ``inputs`` of an MLflow signature: JSON, a list of ``{"name", "type", "required"}``.

        Raises:
            InvalidModelError: the signature is not a list of named columns of types that a record can hold.
        """
        try:
            inputs = json.loads(inputs_json)
            found = [(str(item["name"]), str(item["type"]), bool(item.get("required", True))) for item in inputs]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InvalidModelError("the model's signature does not list named columns") from error
        if not found or len({name for name, *_ in found}) != len(found):
            raise InvalidModelError("the model's signature must list columns of different names")
        unknown = sorted({mlflow_type for _, mlflow_type, _ in found} - TYPES.keys())
        if unknown:
            raise InvalidModelError(
                f"the model's signature has columns of type {', '.join(unknown)}; serving takes {', '.join(TYPES)}"
            )
        return cls(tuple(Column(name, TYPES[kind], required, kind) for name, kind, required in found))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def least_width(self) -> int:
        """How many leading columns include every required one, at least 1: the others may be left out of a request."""
        return max([1, *(place for place, column in enumerate(self.columns, 1) if column.required)])

    @cached_property
    def matrix_widths(self) -> range:
        """How many leading columns a request may send as one matrix; empty where it cannot.

        They must be numeric and include every required column.
        """
        others = (place for place, column in enumerate(self.columns) if column.type not in NUMERIC)
        return range(self.least_width, next(others, len(self.columns)) + 1)

    @cached_property
    def positional(self) -> tuple[str, ...]:
        """The leading columns whose values a request may send by their order alone: as a matrix or as one column."""
        return self.names[: max([*self.matrix_widths, self.least_width == 1])]

    @cached_property
    def is_numeric(self) -> bool:
        """Whether every column is a required number: then a table is one matrix."""
        return all(column.type is ColumnType.NUMBER and column.required for column in self.columns)
