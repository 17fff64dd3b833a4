"""The model's columns, from its MLflow signature."""

import json

import pytest

from src.core.errors import InvalidModelError
from src.core.feature_schema import Column, ColumnType, FeatureSchema


def column(name: str, **more: object) -> dict[str, object]:
    return {"name": name, "type": "double", "required": True, **more}


def test_from_signature_keeps_the_columns_order() -> None:
    inputs = json.dumps([column("b"), column("a", type="long"), {"name": "c", "type": "float"}])
    assert FeatureSchema.from_signature(inputs).names == ("b", "a", "c")


@pytest.mark.parametrize("inputs", ["", "{", "null", "1", "{}", '["a"]', '[{"type": "double"}]', '[{"name": "a"}]'])
def test_from_signature_refuses_what_lists_no_named_columns(inputs: str) -> None:
    with pytest.raises(InvalidModelError, match="signature"):
        FeatureSchema.from_signature(inputs)


@pytest.mark.parametrize(
    "columns",
    [
        [],
        [column("a"), column("a")],
        [column("a", type="datetime")],
        [column("a", type="binary")],
        [column("a", type={"type": "array"})],
        [{"type": "tensor", "tensor-spec": {}}],
    ],
)
def test_from_signature_refuses_columns_that_cannot_be_served(columns: list[object]) -> None:
    with pytest.raises(InvalidModelError, match="signature"):
        FeatureSchema.from_signature(json.dumps(columns))


def test_from_signature_keeps_types_and_what_may_be_missing() -> None:
    inputs = json.dumps(
        [
            column("a", type="string", required=False),
            column("b", type="boolean"),
            column("c", type="long"),
            column("d", type="integer"),
            column("e", type="float"),
        ]
    )
    schema = FeatureSchema.from_signature(inputs)
    assert [(c.type.value, c.required) for c in schema.columns] == [
        ("string", False),
        ("boolean", True),
        ("integer", True),
        ("integer", True),
        ("number", True),
    ]
    assert schema.columns[2].limits == (-(2**63), 2**63 - 1)
    assert schema.columns[3].limits == (-(2**31), 2**31 - 1)
    assert not schema.is_numeric


@pytest.mark.parametrize(
    ("columns", "numeric"),
    [
        ([column("a"), column("b", type="float")], True),
        ([column("a"), column("b", type="long")], False),
        ([column("a"), column("b", required=False)], False),
    ],
)
def test_schema_of_required_numbers_is_numeric(columns: list[object], numeric: bool) -> None:  # noqa: FBT001 - a case's expectation
    assert FeatureSchema.from_signature(json.dumps(columns)).is_numeric is numeric


@pytest.mark.parametrize(
    ("mlflow_type", "limits"), [("long", (1 - 2**53, 2**53 - 1)), ("integer", (-(2**31), 2**31 - 1))]
)
def test_integer_that_may_be_missing_stays_within_what_float64_holds_exactly(
    mlflow_type: str, limits: tuple[int, int]
) -> None:
    assert Column("a", ColumnType.INTEGER, required=False, mlflow_type=mlflow_type).limits == limits
