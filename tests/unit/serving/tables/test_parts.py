"""The memory that a part of a batch takes."""

import numpy as np

from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable
from src.serving.tables.parts import Kept, Rows


def test_text_is_counted_in_bytes_of_strings_and_kept_columns() -> None:
    schema = FeatureSchema((Column("a"), Column("b", ColumnType.STRING, required=False)))
    table = FeatureTable.from_columns(schema, [np.ones(3), np.array(["ß", None, "🌷🌷"], dtype=object)])
    assert Rows(table).text_bytes == len(b"{}") + 10
    kept = Kept.of({"id": [1, 2, 3]})
    assert Rows(table, kept).text_bytes == len(b'{"id":[1,2,3]}') + 10
