"""Cells read for a column; the rules themselves are tested in ``test_column_rules`` and with training's columns."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from src.core.feature_schema import Column, ColumnType
from src.core.typed_cells import read_cell

KINDS = {kind.value: Column("x", kind) for kind in ColumnType}
KINDS["category"] = Column("x", ColumnType.STRING, values=("yes", "1", "NA"))


@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [
        ("number", 3, 3.0),
        ("number", Decimal("2.5"), 2.5),
        ("number", " 2.5 ", 2.5),
        ("number", "3", 3.0),
        ("integer", "\t3.0", 3),
        ("integer", "9007199254740993", 9007199254740993),
        ("integer", 3.0, 3),
        ("integer", 2**53 + 1, 2**53 + 1),
        ("integer", -(2**63), -(2**63)),
        ("boolean", True, True),
        ("boolean", 0, False),
        ("boolean", " Yes ", True),
        ("boolean", "0", False),
        ("date", date(1970, 1, 2), 1.0),
        ("date", datetime(1970, 1, 1, 12, tzinfo=UTC), 0.5),
        ("date", " 1970-01-02 ", 1.0),
        ("string", " Ulm ", "Ulm"),
        ("string", "007", "007"),
        ("string", 1.0, "1"),
        ("string", False, "false"),
        ("category", True, "yes"),
        ("category", False, "false"),
        ("category", " NA ", "NA"),
        ("category", date(2024, 2, 29), "2024-02-29"),
        ("category", None, None),
        ("number", float("nan"), None),
        ("date", None, None),
        ("string", "NA", None),
    ],
)
def test_cell_reads_as_its_columns_type(kind: str, cell: Any, value: Any) -> None:
    found = read_cell(KINDS[kind], cell)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("number", True),
        ("number", float("inf")),
        ("number", [1]),
        ("integer", 2.5),
        ("integer", 2**63),
        ("boolean", 2),
        ("date", 19782),
        ("string", b"x"),
        ("category", [1]),
        ("number", "yes"),
        ("number", "inf"),
        ("integer", "3.5"),
        ("boolean", "2"),
        ("date", "19782"),
        ("date", "NaT"),
    ],
)
def test_cell_of_another_type_is_refused(kind: str, cell: Any) -> None:
    with pytest.raises(ValueError, match="not of the type"):
        read_cell(KINDS[kind], cell)


@pytest.mark.parametrize("kind", list(ColumnType))
@pytest.mark.parametrize("text", ["", " ", "NA", " NA", "null\t", "nan"])
def test_missing_cell_of_any_type(kind: ColumnType, text: str) -> None:
    assert read_cell(KINDS[kind], text) is None


def test_cell_of_a_column_with_known_categories() -> None:
    column = Column("region", ColumnType.STRING, values=("NA", "EU", " X"))
    assert [read_cell(column, text) for text in (" NA", "None", " X", "US ")] == ["NA", None, " X", "US"]
