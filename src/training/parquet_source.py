"""Reads Parquet files; cells keep their types."""

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from src.core.errors import DataError
from src.training.data_files import TableFile, duplicates_of, lacks


def read_parquet(file: TableFile, columns: Sequence[str]) -> pd.DataFrame:
    """Some columns of a file: text as pandas' own type, other types as Arrow's, which know exact nullable integers.

    Raises:
        DataError: the file is not a Parquet file, lacks a column or has one of these names twice.
    """
    with file.open() as stream:
        try:
            names = pq.read_schema(stream).names
            if twice := duplicates_of([name for name in names if name in columns]):
                raise DataError(f"{file.name} has the columns {', '.join(twice)} more than once; rename one of them")
            if not set(columns) <= set(names):
                raise DataError(lacks(file.name, names, columns))
            table = pq.read_table(stream, columns=list(columns))
        except pa.ArrowException as error:
            raise DataError(f"{file.name} is not a Parquet file: {' '.join(str(error).split())}") from error
    frame: pd.DataFrame = table.to_pandas(types_mapper=_pandas_type, ignore_metadata=True)
    return frame


def _pandas_type(kind: pa.DataType) -> pd.ArrowDtype | None:
    return None if pa.types.is_string(kind) or pa.types.is_large_string(kind) else pd.ArrowDtype(kind)
