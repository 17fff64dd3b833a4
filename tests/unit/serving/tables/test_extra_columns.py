"""Columns that the model does not take: refused by name, ignored, or kept for the answers."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.serving.protocols.batches import READERS
from src.serving.tables.arrow_reader import arrow_parts
from src.serving.tables.parts import (
    BINARY,
    MAX_PIECE_BYTES,
    NOTHING,
    PART_ROWS,
    ExtraColumns,
    Format,
    Kept,
    Rows,
    joined_kinds,
    text_of,
)
from src.serving.tables.problems import NO_NAME, InvalidRecordError, unknown_columns
from tests.support.batches import FORMS, Records, file_of, stream_of

NUMBERS = FeatureSchema.of_numbers("a", "b")
TYPED = FeatureSchema((Column("a"), Column("b", ColumnType.INTEGER, mlflow_type="long")))
RECORDS: Records = [{"id": 7, "a": 1, "b": 2, "note": "x,y"}, {"id": 8, "a": 3, "b": 4, "note": None}]


def read(form: str, records: Records, extra: ExtraColumns, schema: FeatureSchema = NUMBERS) -> list[Any]:
    kind, write = FORMS[form]
    return read_body(kind, write(records), extra, schema)


def read_body(kind: Format, body: bytes, extra: ExtraColumns, schema: FeatureSchema = NUMBERS) -> list[Any]:
    if kind in BINARY:
        return list(arrow_parts(kind, schema, body, extra))
    return [part for part in READERS[kind](schema, bytearray(body), extra) if not isinstance(part, int)]


@pytest.mark.parametrize("form", FORMS)
def test_refused_by_name(form: str) -> None:
    try:
        (found,) = read(form, RECORDS[:1], ExtraColumns.REFUSE)
    except InvalidRecordError as error:
        found = error
    message = (
        "unknown columns: id, note; the model takes a, b; extra_columns=ignore drops other columns, "
        "extra_columns=keep returns them with the predictions"
    )
    assert [(item.kind, str(item)) for item in found.problems] == [("unknown_field", message)]


@pytest.mark.parametrize("schema", [NUMBERS, TYPED])
@pytest.mark.parametrize("form", FORMS)
def test_ignored(form: str, schema: FeatureSchema) -> None:
    (found,) = read(form, RECORDS, ExtraColumns.IGNORE, schema)
    assert [found.table.row(index) for index in range(2)] == [(1, 2), (3, 4)]
    assert found.kept == NOTHING


@pytest.mark.parametrize("schema", [NUMBERS, TYPED])
@pytest.mark.parametrize("form", FORMS)
def test_kept(form: str, schema: FeatureSchema) -> None:
    (found,) = read(form, RECORDS, ExtraColumns.KEEP, schema)
    assert [found.table.row(index) for index in range(2)] == [(1, 2), (3, 4)]
    csv = form == "csv"
    assert found.kept.columns() == {"id": ["7", "8"] if csv else [7, 8], "note": ["x,y", "" if csv else None]}
    assert found.kept.kinds == {"id": "text" if csv else "long", "note": "text"}


@pytest.mark.parametrize("extra", [ExtraColumns.IGNORE, ExtraColumns.KEEP])
@pytest.mark.parametrize("form", FORMS)
def test_batch_of_nothing_else_has_nothing_to_keep(form: str, extra: ExtraColumns) -> None:
    (found,) = read(form, [{"a": 1, "b": 2}], extra)
    assert found.kept == NOTHING


@pytest.mark.parametrize("extra", [ExtraColumns.IGNORE, ExtraColumns.KEEP])
@pytest.mark.parametrize("form", ["json", "ndjson", "csv", "columns", "stream"])
def test_models_columns_are_checked_as_always(form: str, extra: ExtraColumns) -> None:
    found = []
    try:
        found = read(form, [{"id": 1, "a": 1}], extra)
    except InvalidRecordError as error:
        found.append(error)
    assert [(item.field, item.kind) for item in found[0].problems] == [("b", "missing")]


@pytest.mark.parametrize("form", ["json", "ndjson", "csv", "columns", "stream", "parquet"])
def test_kept_columns_of_many_parts_stay_with_their_rows(form: str) -> None:
    count = 3 * PART_ROWS + 1
    found: list[Rows] = read(form, [{"id": f"r{n}", "a": n, "b": -n} for n in range(count)], ExtraColumns.KEEP)
    ids = [value for part in found for value in part.kept.columns()["id"]]
    rows = [part.table.row(index) for part in found for index in range(len(part.table))]
    assert ids == [f"r{n}" for n in range(count)]
    assert rows == [(n, -n) for n in range(count)]


def test_records_need_not_have_the_same_fields() -> None:
    records = [{"a": 1, "b": 2, "x": {"deep": [1]}}, {"b": 2, "a": 1, "y": True}]
    (found,) = read("json", records, ExtraColumns.KEEP)
    assert found.kept.columns() == {"x": [{"deep": [1]}, None], "y": [None, True]}
    assert found.kept.kinds == {"x": "text", "y": "boolean"}
    (lines,) = read("ndjson", records, ExtraColumns.KEEP)
    assert lines.kept == found.kept
    (ignored,) = read("ndjson", records, ExtraColumns.IGNORE)
    assert ignored.table.row(1) == (1, 2)


@pytest.mark.parametrize(
    ("kind", "body"), [(Format.CSV, b"a,b,x,x\n1,2,3,4\n"), (Format.JSON, b'{"a":[1],"b":[2],"x":[1],"x":[2]}')]
)
def test_two_columns_of_one_name_cannot_both_be_kept(kind: Format, body: bytes) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        read_body(kind, body, ExtraColumns.KEEP)
    assert caught.value.kind == "malformed"
    assert len(read_body(kind, body, ExtraColumns.IGNORE)) == 1


@pytest.mark.parametrize("extra", [ExtraColumns.IGNORE, ExtraColumns.KEEP])
def test_models_column_may_come_once(extra: ExtraColumns) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        read_body(Format.CSV, b"a,b,id,a\n1,2,3,4\n", extra)
    assert caught.value.kind == "malformed"


def test_column_of_another_length_is_refused_where_it_is_kept() -> None:
    body = b'{"a":[1,2],"b":[3,4],"id":[7]}'
    with pytest.raises(InvalidRecordError, match="differ in their number of values"):
        read_body(Format.JSON, body, ExtraColumns.KEEP)
    assert len(read_body(Format.JSON, body, ExtraColumns.IGNORE)) == 1


@pytest.mark.parametrize("form", ["columns", "csv", "stream"])
def test_missing_and_unknown_columns_are_reported_together(form: str) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        read(form, [{"id": 1, "a": 1}], ExtraColumns.REFUSE)
    assert [(item.field, item.kind) for item in caught.value.problems] == [("b", "missing"), (None, "unknown_field")]


def test_header_is_read_without_white_space_around_its_names() -> None:
    (found,) = read_body(Format.CSV, b" a , id,b\n1,7,2\n", ExtraColumns.KEEP)
    assert (found.table.row(0), found.kept.columns()) == ((1, 2), {"id": ["7"]})
    spaced = FeatureSchema.of_numbers(" a")
    (found,) = read_body(Format.CSV, b'" a"\n1\n', ExtraColumns.REFUSE, spaced)
    assert found.table.row(0) == (1,)


def test_arrow_values_that_json_does_not_have_are_kept_as_texts() -> None:
    table = pa.table(
        {
            "a": [1.0],
            "b": [2.0],
            "day": pa.array([19782], pa.int32()).cast(pa.date32()),
            "at": pa.array([1_709_208_000], pa.int64()).cast(pa.timestamp("s")),
            "raw": [b"x"],
            "big": pa.array([2**64 - 1], pa.uint64()),
            "nothing": pa.nulls(1),
        }
    )
    (found,) = read_body(Format.ARROW_STREAM, stream_of(table), ExtraColumns.KEEP)
    assert found.kept.columns() == {
        "day": ["2024-02-29"],
        "at": ["2024-02-29T12:00:00"],
        "raw": ["b'x'"],
        "big": [2**64 - 1],
        "nothing": [None],
    }
    assert found.kept.kinds == {"day": "text", "at": "text", "raw": "text", "big": "text", "nothing": ""}


def test_long_kept_columns_come_in_small_parts() -> None:
    texts = [f"{index} {'🌷' * 1000}" for index in range(1000)]
    body = file_of(pa.table({"a": np.arange(1000.0), "b": np.ones(1000), "x": texts}))
    parts = read_body(Format.ARROW_FILE, body, ExtraColumns.KEEP)
    assert max(part.text_bytes for part in parts) <= MAX_PIECE_BYTES * 1.01
    assert [text for part in parts for text in part.kept.columns()["x"]] == texts
    assert [value for part in parts for value in part.table.columns[0]] == list(range(1000))
    assert len(read_body(Format.ARROW_FILE, body, ExtraColumns.IGNORE)) == 1


@pytest.mark.parametrize(
    ("names", "listed"),
    [
        (["x"], "x"),
        (["a", "x", "b", "x", "y"], "x, y"),
        ([f"c{n}" for n in range(10)], ", ".join(f"c{n}" for n in range(10))),
        ([f"c{n}" for n in range(12)], ", ".join(f"c{n}" for n in range(10)) + ", 2 more"),
        (["", "x", "new\nline", "\u202e", "y" * 61, "z" * 60], f"{NO_NAME}, x, {'z' * 60}, 3 more"),
        (["\n", "\0"], "2 with long or unprintable names"),
    ],
)
def test_names_are_repeated_as_far_as_they_are_short_and_printable(names: list[str], listed: str) -> None:
    assert str(unknown_columns(NUMBERS, names)).startswith(f"unknown columns: {listed}; the model takes a, b; ")


def test_missing_columns_are_suggested_for_unknown_ones() -> None:
    schema = FeatureSchema.of_numbers("height", "width", "a", "b")
    listed = "Height (did you mean 'height'?), widht (did you mean 'width'?), c"
    assert f"unknown columns: {listed}; the model takes" in str(unknown_columns(schema, ["Height", "widht", "c", "a"]))
    # The first three only: a search for each name of a long list would take too long.
    found = str(unknown_columns(schema, ["x", "y", "z", "Height"]))
    assert found.startswith("unknown columns: x, y, z, Height; ")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None], "long"),
        ([2**63], "text"),
        ([-(2**63)], "long"),
        ([1, 2.5], "double"),
        ([True, None], "boolean"),
        ([True, 1], "text"),
        (["1", 1], "text"),
        ([[1]], "text"),
        ([None], ""),
    ],
)
def test_kind_is_what_all_values_are(values: list[Any], kind: str) -> None:
    assert Kept.of({"x": values}).kinds == {"x": kind}


@pytest.mark.parametrize(
    ("kinds", "joined"),
    [
        (["long", "long"], "long"),
        (["", "boolean", ""], "boolean"),
        (["long", "double", "long"], "double"),
        (["long", "boolean"], "text"),
        (["text", "double"], "text"),
        ([""], ""),
    ],
)
def test_kinds_of_all_parts(kinds: list[str], joined: str) -> None:
    assert joined_kinds(Kept({"x": kind}, b"") for kind in kinds) == {"x": joined}


def test_columns_of_all_parts_in_the_order_in_which_they_come() -> None:
    parts = [NOTHING, Kept.of({"y": [1]}), Kept.of({"x": ["a"], "y": [2.5]})]
    assert list(joined_kinds(parts).items()) == [("y", "double"), ("x", "text")]


@pytest.mark.parametrize(
    ("value", "text"), [(None, None), ("x", "x"), (1, "1"), (True, "true"), (1.5, "1.5"), ({"a": [1]}, '{"a":[1]}')]
)
def test_kept_value_as_a_text(value: Any, text: str | None) -> None:
    assert text_of(value) == text
