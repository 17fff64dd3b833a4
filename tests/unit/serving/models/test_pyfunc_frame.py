from typing import Any

import numpy as np
import pytest
from mlflow.models.utils import _enforce_named_col_schema
from mlflow.types import ColSpec, DataType, Schema

from src.core.feature_schema import TYPES, Column, FeatureSchema
from src.core.feature_table import FeatureTable, Row
from src.serving.models.pyfunc_engine import frame_of


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("kind", sorted(TYPES))
def test_frame_is_what_mlflow_makes_of_its_columns(kind: str, *, required: bool) -> None:
    values: dict[str, Row] = {"string": ("a", "b"), "boolean": (True, False), "long": (1, 2), "integer": (1, 2)}
    schema = FeatureSchema((Column("a column", TYPES[kind], required, kind),))
    given = frame_of(FeatureTable.from_rows(schema, [(value,) for value in values.get(kind, (1.5, 2.5))]))
    spec = Schema([ColSpec(DataType[kind], "a column", required=required)])
    if kind in {"long", "integer"} and not required:
        # MLflow takes no missing integer in any form: NaN it is, and MLflow is not asked.
        assert given["a column"].dtype == np.float64
        return
    enforced = _enforce_named_col_schema(given, spec)
    assert enforced["a column"].tolist() == given["a column"].tolist()
    if not (kind == "boolean" and not required):  # MLflow's type of these depends on the rows
        assert enforced["a column"].dtype == given["a column"].dtype


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_missing_value_keeps_the_type_of_its_column(kind: str) -> None:
    schema = FeatureSchema((Column("a", TYPES[kind], required=False, mlflow_type=kind),))
    present: Any = {"string": "a", "boolean": True}.get(kind, 1)
    mixed, alone = (
        frame_of(FeatureTable.from_rows(schema, rows))["a"] for rows in ([(present,), (None,)], [(present,)])
    )
    assert mixed.isna().tolist() == [False, True]
    assert mixed[0] == present
    assert mixed.dtype == alone.dtype == frame_of(FeatureTable.from_rows(schema, [(None,)]))["a"].dtype
