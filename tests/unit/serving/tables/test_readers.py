"""Every format reads the same rows to the same table, and tells the same problems."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from src.core.errors import InvalidInputError
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable
from src.serving.protocols.batches import READERS
from src.serving.tables import pieces
from src.serving.tables.arrow_reader import arrow_parts
from src.serving.tables.parts import (
    BINARY,
    MAX_PIECE_BYTES,
    MAX_VALUE_BYTES,
    PART_BYTES,
    PART_ROWS,
    ExtraColumns,
    Format,
    Part,
    Rows,
)
from src.serving.tables.problems import InvalidRecordError
from tests.support.batches import FORMS, GOOD, MIXED, TEXTS, Records, as_json, as_ndjson, mixed_records

pytestmark = pytest.mark.slow

Problems = list[tuple[int | None, str | None, str]]

NUMBERS = FeatureSchema.of_numbers("a", "b")
MARKER = "zq7marker"


def parts_of(
    schema: FeatureSchema, form: Format, body: bytes, extra: ExtraColumns = ExtraColumns.REFUSE
) -> Iterator[Part | int]:
    if form in BINARY:
        return arrow_parts(form, schema, body, extra)
    return READERS[form](schema, bytearray(body), extra)


def read(schema: FeatureSchema, form: Format, body: bytes, **options: Any) -> tuple[list[Any], Problems]:
    """The rows of the whole body, and all problems."""
    tables: list[FeatureTable] = []
    problems: list[InvalidInputError] = []
    try:
        for part in parts_of(schema, form, body, **options):
            if isinstance(part, InvalidRecordError):
                problems += part.problems
            elif not isinstance(part, int):
                tables.append(part.table)
    except InvalidRecordError as error:
        problems += error.problems
    rows = [row for table in tables for row in zip(*(column.tolist() for column in table.columns), strict=True)]
    return rows, [(problem.row, problem.field, problem.kind) for problem in problems]


def filled(records: Records, schema: FeatureSchema) -> list[tuple[Any, ...]]:
    """What the table must hold: a missing number is NaN, and so is a missing integer."""
    numbers = (ColumnType.NUMBER, ColumnType.INTEGER)
    return [
        tuple(
            float("nan") if record.get(column.name) is None and column.type in numbers else record.get(column.name)
            for column in schema.columns
        )
        for record in records
    ]


def without_nan(rows: list[tuple[Any, ...]]) -> list[list[Any]]:
    """Rows that can be compared: NaN is unequal to itself."""
    return [["NaN" if cell != cell else cell for cell in row] for row in rows]  # noqa: PLR0124


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [1, 2, 20_000])
def test_reads_every_type_and_missing_values(form: str, count: int) -> None:
    kind, write = FORMS[form]
    records = mixed_records(count)
    rows, problems = read(MIXED, kind, write(records))
    assert problems == []
    assert without_nan(rows) == without_nan(filled(records, MIXED))


@pytest.mark.parametrize("form", FORMS)
def test_reads_numbers_to_the_last_bit_in_any_order_of_columns(form: str) -> None:
    kind, write = FORMS[form]
    values = np.random.default_rng(1).normal(size=(60_000, 2)) * 10.0 ** np.arange(-30, 30).repeat(1000)[:, None]
    body = write([{"b": right, "a": left} for left, right in values.tolist()])
    assert len(body) > 3 * PART_BYTES
    rows, problems = read(NUMBERS, kind, body)
    assert problems == []
    assert np.array_equal(rows, values)


@pytest.mark.parametrize("form", FORMS)
def test_reads_one_column(form: str) -> None:
    kind, write = FORMS[form]
    assert read(FeatureSchema.of_numbers("a"), kind, write([{"a": 1}, {"a": 2.5}])) == ([(1.0,), (2.5,)], [])


@pytest.mark.parametrize("form", FORMS)
def test_a_column_that_may_be_missing_may_be_left_out(form: str) -> None:
    kind, write = FORMS[form]
    rows, problems = read(MIXED, kind, write([GOOD]))
    assert problems == []
    np.testing.assert_equal(rows, filled([GOOD], MIXED))


@pytest.mark.parametrize("form", TEXTS)
def test_reports_every_problem_with_its_row_and_column(form: str) -> None:
    kind, write = FORMS[form]
    records = [dict(GOOD) for _ in range(9000)]
    records[1]['length, in "cm"'] = 1e300
    records[1]["count"] = 1.5
    records[2]["count"] = 2**63
    records[8000]["wild"] = MARKER
    records[8001]["colour"] = None
    _, problems = read(MIXED, kind, write(records))
    assert problems == [
        (1, 'length, in "cm"', "not_finite"),
        (1, "count", "not_an_integer"),
        (2, "count", "not_finite"),
        (8000, "wild", "not_a_boolean"),
        (8001, "colour", "missing"),
    ]


@pytest.mark.parametrize("form", TEXTS)
def test_reports_columns_that_are_missing_or_unknown(form: str) -> None:
    kind, write = FORMS[form]
    assert read(NUMBERS, kind, write([{"a": 1}]))[1] == [
        (0 if kind is not Format.CSV and form != "columns" else None, "b", "missing")
    ]
    unknown = [problem[2] for problem in read(NUMBERS, kind, write([{"a": 1, "b": 2, MARKER: 3}]))[1]]
    assert unknown == ["unknown_field"]


# name -> (format, body, the row of the one problem)
BODIES: dict[str, tuple[Format, bytes, int | None]] = {
    "json: empty": (Format.JSON, b"", None),
    "json: white space": (Format.JSON, b" " * 200_000, None),
    "json: text": (Format.JSON, MARKER.encode(), None),
    "json: null": (Format.JSON, b"null", None),
    "json: byte order mark": (Format.JSON, b'\xef\xbb\xbf[{"a":1,"b":2}]', None),
    "json: no record": (Format.JSON, b" [ ] ", None),
    "json: open list": (Format.JSON, b"[", 0),
    "json: cut short": (Format.JSON, b'[{"a":1,"b":2},{"a":1', 0),
    "json: comma at the end": (Format.JSON, b'[{"a":1,"b":2},]', 0),
    "json: something behind": (Format.JSON, b'[{"a":1,"b":2}] 1', 1),
    "json: NaN": (Format.JSON, b'[{"a":NaN,"b":2}]', 0),
    "json: number as record": (Format.JSON, b"[1]", 0),
    "json: one key twice": (Format.JSON, b'[{"a":1,"b":"x","b":2}]', 0),
    "json: lists 100,000 deep": (Format.JSON, b"[" * 100_000, 0),
    "json: objects 100,000 deep": (Format.JSON, b'[{"a":' * 100_000, 0),
    "json: a record too long": (Format.JSON, b'[{"a":1,"b":"' + b"},{" * MAX_PIECE_BYTES + b'"}]', 0),
    "columns: none": (Format.JSON, b'{"a":[],"b":[]}', None),
    "columns: of different lengths": (Format.JSON, b'{"a":[1,2],"b":[1]}', None),
    "columns: not a list": (Format.JSON, b'{"a":1,"b":[1]}', None),
    "columns: cut short in a list": (Format.JSON, b'{"a":[1,2', None),
    "columns: cut short in a string": (Format.JSON, b'{"a":["' + b"x" * 100, None),
    "columns: cut short behind a list": (Format.JSON, b'{"a":[1],"b":[1]', None),
    "columns: one name twice": (Format.JSON, b'{"a":[1],"a":[1],"b":[1]}', None),
    "columns: comma at the end of a list": (Format.JSON, b'{"a":[1,],"b":[1,2]}', None),
    "columns: comma at the end": (Format.JSON, b'{"a":[1],"b":[1],}', None),
    "columns: no value between commas": (Format.JSON, b'{"a":[1,,2],"b":[1,2,3]}', None),
    "columns: NaN": (Format.JSON, b'{"a":[NaN],"b":[1]}', None),
    "columns: something behind": (Format.JSON, b'{"a":[1],"b":[1]}{', None),
    "columns: bad escape in a name": (Format.JSON, b'{"\\x":[1]}', None),
    "columns: a value too long": (Format.JSON, b'{"a":["' + b"x" * 2 * MAX_PIECE_BYTES + b'"],"b":[1]}', None),
    "ndjson: empty": (Format.NDJSON, b"", None),
    "ndjson: empty lines": (Format.NDJSON, b"\n\n \n", None),
    "ndjson: a record on two lines": (Format.NDJSON, b'{"a":1,"b":2}\n{"a":1,\n', 1),
    "ndjson: a line cut short": (Format.NDJSON, b'{"a":1,"b":2}\n{"a":1', 1),
    "ndjson: an array": (Format.NDJSON, b'[{"a":1,"b":2}]', 0),
    "ndjson: two records on a line": (Format.NDJSON, b'{"a":1,"b":2},{"a":1,"b":2}', 0),
    "ndjson: two records on a line without a comma": (Format.NDJSON, b'{"a":1,"b":2}\n{"a":1,"b":2}{"a":1,"b":2}', 1),
    "ndjson: a line too long": (Format.NDJSON, b"1" * 2 * MAX_PIECE_BYTES, None),
    "csv: header only": (Format.CSV, b"a,b\n", None),
    "csv: one name twice": (Format.CSV, b"a,b,a\n1,2,3\n", None),
    "csv: too few cells": (Format.CSV, b"a,b\n1,2\n1\n", 1),
    "csv: too many cells": (Format.CSV, b"a,b\n1,2,3\n", 0),
    "csv: a cell behind the last column": (Format.CSV, b"a,b\n1,2,\n1,2,3\n", 1),
    "csv: a comma at the end of some rows": (Format.CSV, b"a,b\n1,2,\n1,2\n", 1),
    "csv: a comma at the end of later rows": (Format.CSV, b"a,b\n1,2\n1,2,\n", 1),
    "csv: two commas at the end": (Format.CSV, b"a,b\n1,2,,\n", 0),
    "csv: open quote": (Format.CSV, b'a,b\n1,2\n1,"2\n', 0),
    "csv: something behind a quote": (Format.CSV, b'a,b\n1,"2"x\n', 0),
    "csv: no UTF-8": (Format.CSV, b"a,b\n1,\xff\n", 0),
    "csv: UTF-16": (Format.CSV, "a,b\n1,2\n".encode("utf-16"), 0),
    "csv: a value too long": (Format.CSV, b"a,b\n1," + b"2" * 2 * MAX_VALUE_BYTES + b"\n", 0),
    "csv: a line too long": (Format.CSV, b"a,b\n1," + b" " * 2 * MAX_PIECE_BYTES, None),
}


@pytest.mark.parametrize("name", BODIES)
def test_malformed_body_is_refused(name: str) -> None:
    form, body, row = BODIES[name]
    _, problems = read(NUMBERS, form, body)
    assert [(found[0], found[2]) for found in problems] == [(row, "malformed")]


def test_json_that_breaks_off_is_reported_with_its_approximate_place() -> None:
    (row, _, kind) = read(NUMBERS, Format.JSON, b"[" + b'{"a":1,"b":2},' * 50_000 + b"]")[1][0]
    assert kind == "malformed"
    assert row is not None
    assert 25_000 < row <= 50_000


@pytest.mark.parametrize(
    "cell", ["1_0", "x", "\u0661", "0x10", "1;0", "--1", "1e", "inf", "-Infinity", "1e999", "NAN", "+nan"]
)
def test_csv_cell_that_is_no_number(cell: str) -> None:
    assert read(NUMBERS, Format.CSV, f"a,b\n1,{cell}\n".encode())[1] == [(0, "b", "not_a_number")]


@pytest.mark.parametrize("cell", ["1e39", "-3.5e38"])
def test_csv_cell_that_float32_cannot_hold(cell: str) -> None:
    assert read(NUMBERS, Format.CSV, f"a,b\n1,{cell}\n".encode())[1] == [(0, "b", "not_finite")]
    optional = FeatureSchema((Column("b", required=False),))
    assert read(optional, Format.CSV, f"b\nNA\n{cell}\n".encode())[1] == [(1, "b", "not_finite")]


@pytest.mark.parametrize("cell", ["", " ", "nan", "NaN", " NA", "null", '"None"', '" <NA> "'])
@pytest.mark.parametrize("kind", list(ColumnType))
def test_csv_cell_that_is_missing(cell: str, kind: ColumnType) -> None:
    required = FeatureSchema((Column("a"), Column("b", kind)))
    assert read(required, Format.CSV, f"a,b\n1,{cell}\n".encode())[1] == [(0, "b", "missing")]
    optional = FeatureSchema((Column("a"), Column("b", kind, required=False)))
    ((_, found),), problems = read(optional, Format.CSV, f"a,b\n1,{cell}\n".encode())
    assert (found is None or found != found, problems) == (True, [])  # noqa: PLR0124 - None or NaN


@pytest.mark.parametrize(("cell", "number"), [("1", 1.0), (" 2.5 ", 2.5), ('"3"', 3.0), ("+4", 4.0), ("-.5e1", -5.0)])
def test_csv_cell_that_is_a_number(cell: str, number: float) -> None:
    assert read(NUMBERS, Format.CSV, f"a,b\n1,{cell}\n".encode()) == ([(1.0, number)], [])


@pytest.mark.parametrize(("cell", "whole"), [("5", 5), ("5.0", 5), (str(2**53 + 1), 2**53 + 1), ("-0", 0)])
def test_csv_cell_that_is_a_whole_number(cell: str, whole: int) -> None:
    schema = FeatureSchema((Column("a", ColumnType.INTEGER, mlflow_type="long"),))
    assert read(schema, Format.CSV, f"a\n{cell}\n".encode()) == ([(whole,)], [])


@pytest.mark.parametrize(
    "body",
    [
        b"a,b\r\n1,2\r\n",
        b"a,b\n\n1,2\n\n",
        b"\xef\xbb\xbfa,b\n1,2",
        b'"a","b"\n"1","2"\n',
        b"\na,b\n1,2",
        b"a,b\n1,2,\n",
        b"a, b\n1,2, \n",
    ],
)
def test_csv_as_it_is_written_elsewhere(body: bytes) -> None:
    assert read(NUMBERS, Format.CSV, body) == ([(1.0, 2.0)], [])


@pytest.mark.parametrize(
    "body",
    [
        b' [ {"a" : 1 , "b" : 2 } , {"b":2,"a":1} ] \n',
        b'{"b": [2 , 2.0], "a":\n[ 1,1 ]\n} \n',
        b'{"\\u0061":[1,1],"b":[2,2]}',
    ],
)
def test_json_as_it_is_written_elsewhere(body: bytes) -> None:
    assert read(NUMBERS, Format.JSON, body) == ([(1.0, 2.0), (1.0, 2.0)], [])


def test_ndjson_record_over_two_lines_is_refused_even_where_the_counts_agree() -> None:
    body = b'{"a":1,"b":2}{"a":1,"b":2}\n{"a":1,\n"b":2}'
    assert read(NUMBERS, Format.NDJSON, body)[1] == [(row, None, "malformed") for row in range(3)]


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"b":2},{"a":1,"b":2}\n{"a":1,"b":2,"x":{"y":1}\n"z":2}',
        b'{"a":1,"b":2} {"a":1,"b":2}\n{"a":1,"b":2,"x":{"y":1}\n,"z":2}',
        b'{"a":1,"b":2} {"a":1,"b":2}\n{"a":1,"b":2,"x":[{"y":1},\n{"z":2}]}',
    ],
)
def test_ndjson_record_with_an_ignored_column_over_two_lines_is_refused(body: bytes) -> None:
    assert {row for row, *_ in read(NUMBERS, Format.NDJSON, body, extra=ExtraColumns.IGNORE)[1]} == {0, 1, 2}


def test_ndjson_lines_of_any_end_and_empty_ones_do_not_count() -> None:
    body = b'{"a":1,"b":2}\r\n\r\n\n{"a":3,"b":4}\n{"a":"x","b":4}\n'
    assert read(NUMBERS, Format.NDJSON, body)[1] == [(2, "a", "not_a_number")]
    assert read(NUMBERS, Format.NDJSON, body.replace(b'"x"', b"5")) == ([(1.0, 2.0), (3.0, 4.0), (5.0, 4.0)], [])


CELLS = [
    "1",
    "-2.5e3",
    "1e999",
    "1e39",
    ".5",
    "1.",
    "+1",
    "01",
    "-0",
    "",
    "x",
    "1],[2",
    "[1]",
    "[",
    " 3\t",
    "NaN",
    "1_0",
    "null",
]
LINES = st.lists(
    st.tuples(
        st.lists(st.sampled_from([*"123456", *CELLS]), min_size=1, max_size=3),
        st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
    ),
    min_size=1,
    max_size=4,
)


@given(LINES, st.booleans())
@example(lines=[(["1", "1],[2", "3"], "\n")], has_end=True)
@example(lines=[(["1"], "\r"), (["", "2"], "\n")], has_end=True)
@example(lines=[([" "], "\n"), (["1", "2"], "\n"), (["\t"], "\n")], has_end=True)
def test_csv_of_plain_numbers_is_read_as_any_other(lines: list[tuple[list[str], str]], has_end: bool) -> None:  # noqa: FBT001 - Hypothesis names it
    rows = "".join(",".join(cells) + end for cells, end in lines)
    body = rows.encode() if has_end else rows.rstrip("\r\n").encode()
    # A header over two lines turns off the faster way.
    assert read(NUMBERS, Format.CSV, b"a,b\n" + body) == read(NUMBERS, Format.CSV, b'a,"b\n"\n' + body)


@pytest.mark.parametrize("end", [b"\r", b"\r\n", b"\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_csv_header_may_end_otherwise_than_the_rows(mark: bytes, end: bytes) -> None:
    for between in (b"\r", b"\r\n", b"\n"):
        body = mark + b"a,b" + end + b"1,2" + between + b"3,4" + end
        assert read(NUMBERS, Format.CSV, body) == ([(1.0, 2.0), (3.0, 4.0)], [])


def test_csv_has_one_mark_at_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PART_BYTES", 1)
    schema, mark = FeatureSchema((Column("c", ColumnType.STRING),)), b"\xef\xbb\xbf"
    assert read(schema, Format.CSV, mark + b"c\n" + mark + b"x\n") == ([("\ufeffx",)], [])
    assert read(NUMBERS, Format.CSV, b"a,b\n" + mark + b"1,2\n")[1] == [(0, "a", "not_a_number")]


def test_csv_may_have_plain_numbers_up_to_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PART_BYTES", 16)
    body = b"b,a\n" + b"".join(b"%d,%d\n" % (row, row + 1) for row in range(50)) + b'"50",51\n52,x\n'
    assert read(NUMBERS, Format.CSV, body)[1] == [(51, "a", "not_a_number")]
    rows = [(row + 1.0, float(row)) for row in [*range(51), 52]]
    assert read(NUMBERS, Format.CSV, body.replace(b",x", b",53")) == (rows, [])


def test_csv_of_plain_numbers_keeps_other_columns_as_text() -> None:
    body = b"id,a,b\n1.50,2,3\n"
    (part,) = READERS[Format.CSV](NUMBERS, bytearray(body), ExtraColumns.KEEP)
    assert isinstance(part, Rows)
    assert part.kept.columns() == {"id": ["1.50"]}
    assert read(NUMBERS, Format.CSV, body, extra=ExtraColumns.IGNORE) == ([(2.0, 3.0)], [])


def test_csv_cell_may_be_quoted_behind_a_space() -> None:
    schema = FeatureSchema((Column("a"), Column("c", ColumnType.STRING)))
    assert read(schema, Format.CSV, b'a, "c"\n1, "x, y"\n') == ([(1.0, "x, y")], [])


def test_csv_whose_later_rows_lack_the_comma_at_the_end_is_refused() -> None:
    body = b"a,b\n" + b"1,2,\n" * PART_ROWS + b"1,2\n"
    assert read(NUMBERS, Format.CSV, body)[1] == [(PART_ROWS, None, "malformed")]
    assert len(read(NUMBERS, Format.CSV, body[:-4])[0]) == PART_ROWS


def test_csv_of_nothing_is_refused_though_all_columns_may_be_missing() -> None:
    assert read(FeatureSchema((Column("b", required=False),)), Format.CSV, b"")[1] == [(None, None, "malformed")]


@pytest.mark.parametrize("sign", [";", "\t", "|"])
@pytest.mark.parametrize("extra", ExtraColumns)
def test_csv_with_another_delimiter_is_refused_by_its_name(sign: str, extra: ExtraColumns) -> None:
    body = f"a{sign}b\n1{sign}2\n".encode()
    with pytest.raises(InvalidRecordError) as error:
        list(parts_of(FeatureSchema((Column("a"), Column("b"))), Format.CSV, body, extra=extra))
    assert str(error.value) == f"the header is one cell, which has {sign!r} in it; cells are separated by commas"
    assert read(FeatureSchema((Column(f"a{sign}b"),)), Format.CSV, f"a{sign}b\n1\n".encode()) == ([(1.0,)], [])


OPTIONAL = FeatureSchema((Column("a", required=False), Column("b", ColumnType.STRING, required=False)))


@pytest.mark.parametrize("extra", [ExtraColumns.IGNORE, ExtraColumns.KEEP])
@pytest.mark.parametrize("form", FORMS)
def test_rows_without_any_column_of_the_model_are_refused(form: str, extra: ExtraColumns) -> None:
    kind, write = FORMS[form]
    with pytest.raises(
        InvalidRecordError, match="no column of the model is in the body; its columns are a, b"
    ) as error:
        list(parts_of(OPTIONAL, kind, write([{"x": 1, "y": "z"}, {"x": 2, "y": "z"}]), extra=extra))
    hint = "; cells are separated by commas" if kind is Format.CSV else ""
    assert str(error.value).endswith(f"a, b{hint}")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("extra", [ExtraColumns.IGNORE, ExtraColumns.KEEP])
def test_one_column_of_the_model_is_enough_though_it_has_no_value(form: str, extra: ExtraColumns) -> None:
    kind, write = FORMS[form]
    rows, problems = read(OPTIONAL, kind, write([{"x": 1, "b": None}, {"x": 2, "b": "z"}]), extra=extra)
    assert problems == []
    assert [row[1] for row in rows] == [None, "z"]


@pytest.mark.parametrize("write", [as_json, as_ndjson])
def test_record_without_any_column_may_stand_beside_others(write: Any) -> None:
    kind = Format.JSON if write is as_json else Format.NDJSON
    records = [{"x": "y" * 99}] * 5000
    for others in ([*records, {"a": 1}], [{"a": 1}, *records]):
        rows, problems = read(OPTIONAL, kind, write(others), extra=ExtraColumns.IGNORE)
        assert (len(rows), problems) == (5001, [])


@pytest.mark.parametrize(("form", "body"), [(Format.JSON, b"[{}]"), (Format.NDJSON, b"{}"), (Format.JSON, b"{}")])
def test_empty_records_are_refused_where_all_columns_may_be_missing(form: Format, body: bytes) -> None:
    assert read(OPTIONAL, form, body)[1] == [(None, None, "malformed")]
