import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from src.core.errors import DataError
from src.quality import label_sources
from src.quality.label_rows import CheckedLabel, NumberedRow, RawLabel, check_label
from src.quality.label_sources import read_labels
from tests.support.quality_files import NOON


def read(name: str, content: bytes | str) -> list[NumberedRow]:
    raw = content.encode() if isinstance(content, str) else content
    return list(read_labels(Path(name), io.BytesIO(raw)))


def parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


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
        ("a.csv", b"", "needs the columns request_id or id, and label; time is optional; in CSV, cells are separated"),
        ("a.csv", b"id;label\n", "needs the columns request_id or id, and label"),
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
