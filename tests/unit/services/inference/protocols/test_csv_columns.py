import io
import math
from typing import Any

import pandas as pd
import pytest

from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.services.inference.formats.records import InvalidRecordError
from src.services.inference.protocols.csv_columns import MISSING_TEXTS, columns_of_csv

SCHEMA = FeatureSchema(
    (
        Column("size, cm"),
        Column("count", ColumnType.INTEGER, required=False, mlflow_type="long"),
        Column("wild", ColumnType.BOOLEAN, mlflow_type="boolean"),
        Column("name", ColumnType.STRING, required=False, mlflow_type="string"),
    )
)


def read(text: str) -> tuple[dict[str, list[Any]], int]:
    return columns_of_csv(SCHEMA, text)


def cell(name: str, text: str) -> Any:
    columns, rows = columns_of_csv(SCHEMA, f'"{name}"\n"{text}"\n')
    assert rows == 1
    return columns[name][0]


def test_what_pandas_writes_is_read_with_its_index_left_out() -> None:
    frame = pd.DataFrame(
        {"size, cm": [1.5, 2.0], "count": [3, None], "wild": [True, False], "name": ['a "b", c\nd', None]}
    )
    columns, rows = read(frame.to_csv())
    assert rows == 2
    assert columns == {
        "size, cm": [1.5, 2.0],
        "count": [3.0, None],
        "wild": [True, False],
        "name": ['a "b", c\nd', None],
    }


def test_order_of_columns_blank_lines_and_line_ends_do_not_matter() -> None:
    columns, rows = read('\r\nwild,"size, cm"\r\n\r\ntrue,1\r\nFALSE, 2.5 \r\n\r\n')
    assert (columns, rows) == ({"size, cm": [1.0, 2.5], "wild": [True, False]}, 2)


@pytest.mark.parametrize("text", sorted(MISSING_TEXTS))
def test_missing_values_are_spelt_as_pandas_reads_them(text: str) -> None:
    assert pd.read_csv(io.StringIO(f'x,y\n{text},1\n"b",2\n'))["x"].isna().tolist() == [True, False]
    assert cell("name", text) is None
    assert cell("count", text) is None
    assert cell("wild", text) is None
    number = cell("size, cm", text)
    assert number is None or math.isnan(number)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("size, cm", "1e3", 1000.0),
        ("size, cm", "-.5", -0.5),
        ("size, cm", "1e999", math.inf),
        ("size, cm", "inf", math.inf),
        ("size, cm", "1_000", "1_000"),
        ("size, cm", "٣", "٣"),
        ("size, cm", "0x10", "0x10"),
        ("size, cm", "true", "true"),
        ("size, cm", "9" * 5000, math.inf),
        ("count", "+12", 12),
        ("count", "5.0", 5.0),
        ("count", "5.5", 5.5),
        ("count", "1_0", "1_0"),
        ("count", "9" * 400, int("9" * 400)),
        ("count", "9" * 5000, math.inf),
        ("wild", "yes", "yes"),
        ("wild", "1", "1"),
        ("name", " a ", " a "),
        ("name", "1", "1"),
    ],
)
def test_cell_reads_as_its_columns_type_or_stays_text(name: str, text: str, expected: Any) -> None:
    found = cell(name, text)
    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize(
    ("text", "message", "row"),
    [
        ("", "no header", None),
        ("\n\n", "no header", None),
        ("wild,name\ntrue,a\ntrue\n", "as many cells", 1),
        ("wild,name\ntrue,a,b\n", "as many cells", 0),
        ("wild,name,wild\ntrue,a,true\n", "wild must be one column", None),
        ('wild,name\ntrue,"a\n', "not valid CSV", None),
        ('wild,name\ntrue,"a"b\n', "not valid CSV", None),
        ("name\n" + "a" * 200_000, "not valid CSV", None),
    ],
)
def test_text_of_another_form_is_refused(text: str, message: str, row: int | None) -> None:
    with pytest.raises(InvalidRecordError, match=message) as caught:
        read(text)
    assert (caught.value.kind, caught.value.row) == ("malformed", row)


def test_header_alone_has_no_rows() -> None:
    assert read("wild,name\n") == ({"wild": [], "name": []}, 0)


def test_rows_beyond_a_part_follow_in_order_with_their_numbers() -> None:
    lines = [f"true,{index}" for index in range(2500)]
    columns, rows = read("wild,name\n" + "\n".join(lines))
    assert rows == 2500
    assert columns["name"] == [str(index) for index in range(2500)]
    lines[2100] += ",more"
    with pytest.raises(InvalidRecordError) as caught:
        read("wild,name\n" + "\n".join(lines))
    assert caught.value.row == 2100


@pytest.mark.timeout(30)  # a pattern that tries again from each digit takes minutes, and holds up the whole process
@pytest.mark.parametrize("text", ["1" * 100_000 + "x", "." + "1" * 100_000 + "x", "1e" + "1" * 100_000 + "x"])
def test_long_row_of_digits_that_is_no_number_is_told_at_once(text: str) -> None:
    assert cell("size, cm", text) == text
    assert cell("count", text) == text
