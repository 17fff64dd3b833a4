"""The model's columns, from its MLflow signature."""

import json

import pytest

from src.core.errors import InvalidModelError
from src.core.feature_schema import FeatureSchema


def column(name: str, **more: object) -> dict[str, object]:
    return {"name": name, "type": "double", "required": True, **more}


def test_from_signature_keeps_the_columns_order() -> None:
    inputs = json.dumps([column("b"), column("a", type="long"), {"name": "c", "type": "float"}])
    assert FeatureSchema.from_signature(inputs).columns == ("b", "a", "c")


@pytest.mark.parametrize("inputs", ["", "{", "null", "1", "{}", '["a"]', '[{"type": "double"}]', '[{"name": "a"}]'])
def test_from_signature_refuses_what_lists_no_named_columns(inputs: str) -> None:
    with pytest.raises(InvalidModelError, match="signature"):
        FeatureSchema.from_signature(inputs)


@pytest.mark.parametrize(
    "columns",
    [
        [],
        [column("a"), column("a")],
        [column("a", type="string")],
        [column("a", type="boolean")],
        [column("a", required=False)],
        [{"type": "tensor", "tensor-spec": {}}],
    ],
)
def test_from_signature_refuses_columns_that_cannot_be_served(columns: list[object]) -> None:
    with pytest.raises(InvalidModelError, match="signature"):
        FeatureSchema.from_signature(json.dumps(columns))
