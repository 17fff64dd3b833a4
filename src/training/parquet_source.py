"""Reads Parquet files; cells keep their types."""

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from src.core.errors import DataError
from src.training.data_files import TableFile, columns_to_read, duplicates_of, lacks

# Is of no column's type, and can be compared and hashed.
UNUSABLE = b""


def read_parquet(file: TableFile, columns: Sequence[str], optional: Collection[str] = ()) -> pd.DataFrame:
    """Some columns of a file: text as pandas' own type, other types as Arrow's, which know exact nullable integers.

    The result lacks ``optional`` columns that the file lacks.

    Raises:
        DataError: the file is not a Parquet file, lacks a column, has one of these names twice or text that is not
            UTF-8.
    """
    with file.open() as stream:
        try:
            names = pq.read_schema(stream).names
            columns = columns_to_read(names, columns, optional)
            if twice := duplicates_of([name for name in names if name in columns]):
                raise DataError(f"{file.name} has the columns {', '.join(twice)} more than once; rename one of them")
            if not set(columns) <= set(names):
                raise DataError(lacks(file.name, names, columns))
            table = pq.read_table(stream, columns=list(columns))
        except pa.ArrowException as error:
            raise DataError(f"{file.name} is not a Parquet file: {' '.join(str(error).split())}") from error
    found = {}
    for name in columns:
        try:
            table.column(name).validate(full=True)
            found[name] = _series(table.column(name))
        except pa.ArrowException as error:
            raise DataError(f"{file.name}: {name} cannot be read: {' '.join(str(error).split())}") from error
    return pd.DataFrame(found)


def python_values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """The cells as Python values; ``UNUSABLE`` where there is none, as for time stamps after the year 9999."""
    try:
        cells: list[Any] = column.to_pylist()
    except (OverflowError, ValueError):
        return [_value(cell) for cell in column]
    return cells


def _value(cell: pa.Scalar) -> Any:
    try:
        return cell.as_py()
    except (OverflowError, ValueError):
        return UNUSABLE


def _series(column: pa.ChunkedArray) -> pd.Series:
    """A column; as Python objects if it has dates without a Python value, such as those after the year 9999."""
    column = _usable(column)
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        try:
            pc.min_max(column).as_py()
        except (OverflowError, ValueError):
            return pd.Series(python_values(column), dtype=object)
    series: pd.Series = column.to_pandas(types_mapper=_pandas_type)
    return series


def _usable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as a type that pandas knows; cells of types that no column accepts become ``UNUSABLE``."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return _usable(column.cast(kind.storage_type))
    if _is_text(kind) or (pa.types.is_dictionary(kind) and _is_text(kind.value_type)):
        return column.cast(pa.large_string())
    if pa.types.is_dictionary(kind):
        return _usable(column.cast(kind.value_type))
    if pa.types.is_float16(kind):
        return column.cast(pa.float32())
    if _has_values(kind):
        return column
    return pc.if_else(pc.is_null(column), pa.scalar(None, pa.binary()), pa.scalar(UNUSABLE, pa.binary()))


def _is_text(kind: pa.DataType) -> bool:
    return any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _has_values(kind: pa.DataType) -> bool:
    """Whether a type is that of numbers, booleans, dates or missing values."""
    kinds = pa.types
    numbers = (kinds.is_integer, kinds.is_floating, kinds.is_decimal, kinds.is_boolean)
    return any(is_kind(kind) for is_kind in (*numbers, kinds.is_date, kinds.is_timestamp, kinds.is_null))


def _pandas_type(kind: pa.DataType) -> pd.ArrowDtype | None:
    return None if pa.types.is_large_string(kind) else pd.ArrowDtype(kind)
