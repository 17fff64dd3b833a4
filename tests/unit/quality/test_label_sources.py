import io
import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from src.core.errors import DataError
from src.core.feedback import MAX_KEY, MAX_LABEL
from src.quality import label_sources
from src.quality.label_sources import CheckedLabel, NumberedRow, RawLabel, check_label, read_labels
from tests.support.quality_files import NOON


def read(name: str, content: bytes | str) -> list[NumberedRow]:
    raw = content.encode() if isinstance(content, str) else content
    return list(read_labels(Path(name), io.BytesIO(raw)))


def parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


# -- rows ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "checked"),
    [
        (RawLabel("abc", None, " yes", None), ("abc", None, "yes", None)),
        (RawLabel("abc", None, "yes", None), ("abc", None, "yes", None)),
        (RawLabel(" abc/0 ", "", " yes ", " "), ("abc", None, "yes", None)),
        (RawLabel("abc/02", None, "yes", None), ("abc/2", None, "yes", None)),
        (RawLabel(None, "k/0", "yes", None), (None, "k/0", "yes", None)),
        (RawLabel(float("nan"), 42, "yes", float("nan")), (None, "42", "yes", None)),
        (RawLabel(None, 42.0, "yes", pd.NaT), (None, "42", "yes", None)),
        (RawLabel(None, np.int64(7), np.float64(1), None), (None, "7", "1", None)),
        (RawLabel(None, "k", "NA", None), (None, "k", "NA", None)),
        (RawLabel(None, "k", " no ", None), (None, "k", " no ", None)),
        (RawLabel(None, "k" * MAX_KEY, "x" * MAX_LABEL, None), (None, "k" * MAX_KEY, "x" * MAX_LABEL, None)),
    ],
)
def test_row_is_stored_as_text_without_white_space_around_it(raw: RawLabel, checked: tuple[Any, ...]) -> None:
    assert check_label(raw, ("yes", "1", "NA", " no ", "x" * MAX_LABEL)) == CheckedLabel(*checked)


@pytest.mark.parametrize(
    ("label", "classes", "text"),
    [
        (True, ("true", "false"), "true"),
        (1, ("0.0", "1.0"), "1.0"),
        (True, ("no", "yes"), "yes"),
        (False, ("False", "True"), "False"),
    ],
)
def test_typed_label_is_the_class_of_equal_value(label: object, classes: tuple[str, ...], text: str) -> None:
    assert check_label(RawLabel("abc", None, label, None), classes).label == text


@pytest.mark.parametrize("label", ["Yes", "maybe", True, 1, "yes,no", float(1), date(2026, 3, 4)])
def test_label_of_a_classification_must_be_a_class(label: object) -> None:
    with pytest.raises(ValueError, match=r"^has a label that is not a class of the model$"):
        check_label(RawLabel("a", None, label, None), ("setosa", "virginica"))


@pytest.mark.parametrize(
    ("label", "text"),
    [(1, "1"), (1.0, "1"), (0.25, "0.25"), (Decimal("1.50"), "1.5"), (" -3e2 ", "-3e2"), (np.float32(0.5), "0.5")],
)
def test_label_of_a_regression_is_a_finite_number(label: object, text: str) -> None:
    assert check_label(RawLabel("a", None, label, None), ()).label == text


@pytest.mark.parametrize("label", ["x", "nan", "inf", "1e999", "1,5", "1_0", True, date(2026, 3, 4)])
def test_other_labels_of_a_regression_are_refused(label: object) -> None:
    with pytest.raises(ValueError, match=r"^has a label that is not a finite number$"):
        check_label(RawLabel("a", None, label, None), ())


@pytest.mark.parametrize(
    ("time", "moment"),
    [
        ("2026-03-04T12:00:00Z", NOON),
        ("2026-03-04 12:00", NOON),
        ("2026-03-04T14:00:00.000001+02:00", NOON + timedelta(microseconds=1)),
        ("2026-03-04", datetime(2026, 3, 4, tzinfo=UTC)),
        (date(2026, 3, 4), datetime(2026, 3, 4, tzinfo=UTC)),
        (NOON.replace(tzinfo=None), NOON),
        (NOON.astimezone(timezone(timedelta(hours=5))), NOON),
        (pd.Timestamp(NOON), NOON),
    ],
)
def test_time_is_in_utc(time: object, moment: datetime) -> None:
    found = check_label(RawLabel("abc", None, 1, time), ()).time
    assert found == moment
    assert found is not None
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (RawLabel(None, None, "x", None), "has no id"),
        (RawLabel(" ", "", "x", None), "has no id"),
        (RawLabel("a", "b", "x", None), "has both request_id and id"),
        (RawLabel("a", None, None, None), "has no label"),
        (RawLabel("a", None, "  ", None), "has no label"),
        (RawLabel("a", None, float("inf"), None), "has a label that is neither text nor a finite number"),
        (RawLabel("a", None, Decimal("NaN"), None), "has a label that is neither text nor a finite number"),
        (RawLabel("a", None, ["x"], None), "has a label that is neither text nor a finite number"),
        (RawLabel("a", None, b"x", None), "has a label that is neither text nor a finite number"),
        (RawLabel({}, None, "x", None), "has an id that is neither text nor a finite number"),
        (RawLabel("a" * (MAX_KEY + 1), None, "x", None), f"has an id of more than {MAX_KEY} characters"),
        (RawLabel("a", None, "x" * (MAX_LABEL + 1), None), f"has a label of more than {MAX_LABEL} characters"),
        (RawLabel("a", None, "\ud800", None), "has a label that is not valid Unicode"),
        (RawLabel("a", None, "x", "yesterday"), "has a time that is not ISO 8601"),
        (RawLabel("a", None, "x", 20260304), "has a time that is not ISO 8601"),
        (RawLabel("a", None, "x", "0001-01-01T00:00:00+14:00"), "has a time that is not ISO 8601"),
        (RawLabel("a", None, "x", time=True), "has a time that is not ISO 8601"),
    ],
)
def test_invalid_row_is_refused_without_its_values(raw: RawLabel, reason: str) -> None:
    with pytest.raises(ValueError, match="^" + reason):
        check_label(raw, ("x",))


# -- files -----------------------------------------------------------------------------------------------


def test_csv_with_any_further_columns_in_any_order() -> None:
    rows = read("a.CSV", '\ufefflabel, id ,note,time\r\n"a, b",k1,"two\nlines",2026-03-04\r\n\r\nc,k2\r\n')
    assert rows == [
        NumberedRow("line 3", RawLabel(None, "k1", "a, b", "2026-03-04")),
        NumberedRow("line 5", RawLabel(None, "k2", "c", None)),
    ]


def test_csv_and_ndjson_with_a_byte_order_mark_and_without_a_last_line_end() -> None:
    assert read("a.csv", "\ufeffrequest_id,label\na,1") == [NumberedRow("line 2", RawLabel("a", None, "1", None))]
    assert read("a.jsonl", '\ufeff{"id": 1, "label": true}') == [
        NumberedRow("line 1", RawLabel(None, 1, label=True, time=None))
    ]


def test_ndjson_rows_that_are_no_objects_are_reported_by_line() -> None:
    deep = "[" * 100_000
    lines = ['{"request_id": "a", "label": 1.5, "time": null, "more": []}', "", "[1]", "{", deep, '{"label": "x"}']
    assert read("a.ndjson", "\n".join(lines)) == [
        NumberedRow("line 1", RawLabel("a", None, 1.5, None)),
        *(NumberedRow(f"line {line}", "is not a JSON object") for line in (3, 4, 5)),
        NumberedRow("line 6", RawLabel(None, None, "x", None)),
    ]


def test_parquet_with_typed_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_sources, "BATCH_ROWS", 2)
    nanoseconds = pa.array([1_772_625_600_000_000_001, None, 0], pa.timestamp("ns"))
    table = pa.table({"label": [1, None, 3], "time": nanoseconds, "other": [1, 2, 3], "id": ["a", "b", "c"]})
    assert read("a.parquet", parquet(table)) == [
        NumberedRow("row 1", RawLabel(None, "a", 1, NOON)),
        NumberedRow("row 2", RawLabel(None, "b", None, None)),
        NumberedRow("row 3", RawLabel(None, "c", 3, datetime(1970, 1, 1, tzinfo=UTC))),
    ]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "+02:00"])
def test_parquet_times_with_a_zone_and_categories(zone: str) -> None:
    times = pa.array([NOON], pa.timestamp("s", tz=zone))
    table = pa.table({"request_id": ["a"], "label": pa.array(["x"]).dictionary_encode(), "time": times})
    ((_, row),) = read("a.parquet", parquet(table))
    assert isinstance(row, RawLabel)
    assert check_label(row, ("x",)) == CheckedLabel("a", None, "x", NOON)


def test_parquet_time_that_python_does_not_know_makes_its_row_invalid() -> None:
    times = pa.array([2**60, 0], pa.timestamp("us"))
    first, second = read("a.parquet", parquet(pa.table({"id": ["a", "b"], "label": ["x", "y"], "time": times})))
    assert isinstance(first.row, RawLabel)
    assert isinstance(second.row, RawLabel)
    with pytest.raises(ValueError, match="has a time that is not ISO 8601"):
        check_label(first.row, ("x", "y"))
    assert check_label(second.row, ("x", "y")).time == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.xlsx", b"", "is not a file of labels; its name must end with .csv, .ndjson, .jsonl, .parquet"),
        ("labels", b"", "is not a file of labels"),
        ("a.csv", b"", "needs the columns request_id or id, and label; time is optional"),
        ("a.csv", b"id\nx\n", "needs the columns request_id or id, and label"),
        ("a.csv", b"label,Id\nx,1\n", "needs the columns request_id or id, and label"),
        ("a.csv", b"id,label,id\n", "has the column id more than once"),
        ("a.csv", b"id,label\n\xff,1\n", "is not UTF-8 text"),
        ("a.csv", b"id,label\n" + b'"' + b"x\n" * 100_000, "is not a CSV file: line "),
        ("a.ndjson", b"\xff\n", "is not UTF-8 text"),
        ("a.parquet", b"", "is not a Parquet file: "),
        ("a.parquet", b"PAR1" + b"\0" * 100 + b"PAR1", "is not a Parquet file: "),
        ("a.parquet", parquet(pa.table({"label": ["x"]})), "needs the columns request_id or id"),
    ],
)
def test_file_of_another_form_is_refused(name: str, content: bytes, reason: str) -> None:
    with pytest.raises(DataError, match="^" + reason.replace(".", r"\.")):
        read(name, content)


def test_line_of_the_largest_length_is_read_and_a_longer_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    line = json.dumps({"id": "a", "label": "x"}) + "\n"
    monkeypatch.setattr(label_sources, "MAX_LINE", len(line))
    assert len(read("a.ndjson", line * 2)) == 2
    with pytest.raises(DataError, match=f"has a line of more than {len(line)} bytes"):
        read("a.ndjson", line + " " + line)
