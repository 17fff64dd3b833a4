import fcntl
import json
import logging
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from src.quality import segments
from src.quality.segments import ingest_segments, read_segment
from tests.support.quality_files import (
    MODEL,
    NOON,
    VALUES,
    log_store,
    logged,
    stored_ids,
    stored_rows,
    write_segment,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_rows_are_stored_with_every_column_and_its_type_and_the_segment_is_deleted(tmp_path: Path) -> None:
    segment = write_segment(tmp_path, "a", [logged("r1", key="k1"), logged("r2", probabilities=None)], rate=0.5)
    table = read_segment(segment, MODEL)
    assert table is not None
    store = log_store(tmp_path)
    assert ingest_segments(store, tmp_path / "segments", MODEL) == 2
    first, second = stored_rows(store)
    assert first == {
        "request_id": "r1",
        "key": "k1",
        "time": NOON,
        "model_version": "7",
        "role": "champion",
        "rate": 0.5,
        "prediction": "setosa",
        "probability_setosa": 0.9,
        "probability_virginica": 0.1,
        "feature_length": 1.5,
        "feature_petals": 3,
        "feature_color": "blue",
        "feature_wild": True,
        "feature_seen": 20_000.5,
    }
    assert (second["key"], second["probability_setosa"], second["probability_virginica"]) == (None, None, None)
    types = {name: str(table.schema.field(name).type) for name in table.column_names if name.startswith("feature_")}
    assert list(types.values()) == ["double", "int64", "string", "bool", "double"]
    assert str(table.schema.field("time").type) == "timestamp[us, tz=UTC]"
    assert names(tmp_path / "segments") == []
    (file,) = store.manifest.files
    assert (file.rows, file.first, file.last, file.rates) == (2, NOON, NOON, [0.5])


def test_missing_values_are_null_in_columns_of_every_type(tmp_path: Path) -> None:
    missing = [None] * 5
    not_numbers = [float("nan"), float("nan"), None, float("nan"), float("nan")]
    floats = [2, 4.0, "red", 1.0, 3]
    rows = [logged("a", values=missing), logged("b", values=not_numbers), logged("c", values=floats)]
    table = read_segment(write_segment(tmp_path, "a", rows), MODEL)
    assert table is not None
    assert table["feature_petals"].type == pa.int64()
    assert table["feature_petals"].to_pylist() == [None, None, 4]
    assert table["feature_length"].to_pylist() == [None, None, 2.0]
    assert table["feature_color"].to_pylist() == [None, None, "red"]
    assert table["feature_wild"].to_pylist() == [None, None, True]
    assert table["feature_seen"].to_pylist() == [None, None, 3.0]


def test_numbers_of_a_regression_are_kept_as_text_and_without_probabilities(tmp_path: Path) -> None:
    rows = [logged("a", prediction=0.1, probabilities=None), logged("b", prediction=3, probabilities=None)]
    table = read_segment(write_segment(tmp_path, "a", rows, classes=[]), MODEL)
    assert table is not None
    assert table["prediction"].to_pylist() == ["0.1", "3"]
    assert not [name for name in table.column_names if name.startswith("probability_")]


@pytest.mark.parametrize("end", ['{"id": "r2"', json.dumps(logged("r2")), "\0\0\0", "€"[:1]])
def test_incomplete_last_line_is_left_out(tmp_path: Path, end: str) -> None:
    write_segment(tmp_path, "a", [logged("r1")], end=end)
    store = log_store(tmp_path)
    assert ingest_segments(store, tmp_path / "segments", MODEL) == 1
    assert stored_ids(store) == ["r1"]


def test_segment_without_rows_is_deleted(tmp_path: Path) -> None:
    write_segment(tmp_path, "a", [])
    store = log_store(tmp_path)
    assert ingest_segments(store, tmp_path / "segments", MODEL) == 0
    assert (store.paths(), names(tmp_path / "segments")) == ([], [])


BAD_ROWS = {
    "no id": {"time": 1},
    "a list": [],
    "a number as id": logged("a") | {"id": 5},
    "few values": logged("a", values=[1.0]),
    "few probabilities": logged("a", probabilities=[1.0]),
    "text as number": logged("a", values=["secret", *VALUES[1:]]),
    "a huge integer": logged("a", values=[1.0, 2**63, *VALUES[2:]]),
    "infinity as integer": logged("a", values=[1.0, float("inf"), *VALUES[2:]]),
    "no number as time": logged("a") | {"time": "noon"},
    "a time before 1970": logged("a") | {"time": -1},
    "the year 10000": logged("a") | {"time": 253_402_300_800_000_000},
    "half a character": logged("a") | {"id": "\ud800"},
}


@pytest.mark.parametrize("row", BAD_ROWS.values(), ids=BAD_ROWS)
def test_segment_with_a_row_of_another_form_is_set_aside_and_the_others_are_stored(
    tmp_path: Path, row: object, caplog: pytest.LogCaptureFixture
) -> None:
    write_segment(tmp_path, "a", [logged("r1")])
    write_segment(tmp_path, "b", [logged("r2"), row])  # type: ignore[list-item]
    write_segment(tmp_path, "c", [logged("r3")])
    store = log_store(tmp_path)
    with caplog.at_level(logging.ERROR):
        assert ingest_segments(store, tmp_path / "segments", MODEL) == 2
    assert stored_ids(store) == ["r1", "r3"]
    assert names(tmp_path / "segments") == ["bad"]
    assert names(tmp_path / "segments" / "bad") == ["b.ndjson"]
    (record,) = caplog.records
    assert "bad/b.ndjson" in record.getMessage()
    assert "a row has another form (" in record.getMessage()
    assert "secret" not in record.getMessage()


@pytest.mark.parametrize("content", ["", "\n", "{}\n", "[1]\n", '{"format": 2}\n', "{\n", "\ud800"])
def test_file_without_a_header_is_set_aside(tmp_path: Path, content: str) -> None:
    segment = write_segment(tmp_path, "a", [])
    segment.write_bytes(content.encode(errors="surrogatepass"))
    assert ingest_segments(log_store(tmp_path), tmp_path / "segments", MODEL) == 0
    assert names(tmp_path / "segments" / "bad") == ["a.ndjson"]


def test_last_microsecond_that_can_be_stored(tmp_path: Path) -> None:
    write_segment(tmp_path, "a", [logged("a") | {"time": 0}, logged("b") | {"time": 253_402_300_799_999_999}])
    store = log_store(tmp_path)
    assert ingest_segments(store, tmp_path / "segments", MODEL) == 2
    first, last = store.manifest.files
    assert first.path.startswith("day=1970-01-01/")
    assert last.path.startswith("day=9999-12-31/")


def test_segments_of_another_model_stay(tmp_path: Path) -> None:
    write_segment(tmp_path, "a", [logged("r1")], model="other")
    write_segment(tmp_path, "b", [logged("r2")])
    store = log_store(tmp_path)
    assert ingest_segments(store, tmp_path / "segments", MODEL) == 1
    assert names(tmp_path / "segments") == ["a.ndjson"]


def test_versions_with_other_columns_and_classes_are_stored_side_by_side(tmp_path: Path) -> None:
    write_segment(tmp_path, "a", [logged("r1")])
    columns = [{"name": "petals", "type": "string"}, {"name": "new", "type": "number"}]
    write_segment(tmp_path, "b", [logged("r2", values=["3", 1.0])], version="8", columns=columns)
    write_segment(tmp_path, "c", [logged("r3")])
    write_segment(tmp_path, "d", [logged("r4", probabilities=[1])], version="9", classes=["rose"])
    store = log_store(tmp_path)
    assert ingest_segments(store, tmp_path / "segments", MODEL) == 4
    found = {row["request_id"]: row for row in stored_rows(store)}
    assert sorted(found) == ["r1", "r2", "r3", "r4"]
    assert (found["r1"]["feature_petals"], found["r2"]["feature_petals"]) == (3, "3")
    assert "feature_length" not in found["r2"]
    assert (found["r2"]["feature_new"], found["r2"]["model_version"]) == (1.0, "8")
    assert (found["r4"]["probability_rose"], "probability_setosa" in found["r4"]) == (1.0, False)
    assert len(store.manifest.files) == 3


def test_open_segment_stays_while_its_writer_lives_and_is_stored_after_its_death(tmp_path: Path) -> None:
    segment = write_segment(tmp_path, "a", [logged("r1")], is_open=True, end='{"id"')
    store = log_store(tmp_path)
    with segment.open("rb+") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        assert ingest_segments(store, tmp_path / "segments", MODEL) == 0
        assert names(tmp_path / "segments") == ["a.ndjson.open"]
    assert ingest_segments(store, tmp_path / "segments", MODEL) == 1
    assert stored_ids(store) == ["r1"]
    assert names(tmp_path / "segments") == []


def test_locks_of_open_segments_are_released(tmp_path: Path) -> None:
    write_segment(tmp_path, "a", [], is_open=True).write_bytes(b"")
    write_segment(tmp_path, "b", [logged("r1")], is_open=True)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a Path's iterator has a descriptor of its own
    segments._close_abandoned(tmp_path / "segments")  # noqa: SLF001 - the locks are taken in this step
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - as above


def test_empty_open_segment_stays_for_its_writer_may_be_about_to_lock_it(tmp_path: Path) -> None:
    segment = write_segment(tmp_path, "a", [], is_open=True)
    segment.write_bytes(b"")
    assert ingest_segments(log_store(tmp_path), tmp_path / "segments", MODEL) == 0
    assert names(tmp_path / "segments") == ["a.ndjson.open"]


@pytest.mark.parametrize("moment", ["before it is opened", "before it is locked"])
def test_segment_that_its_writer_closes_meanwhile_is_kept(
    tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = write_segment(tmp_path, "a", [logged("r1")], is_open=True)
    closed = segment.with_suffix("")
    attribute, owner = ("open", os) if moment == "before it is opened" else ("try_lock", segments)
    real = getattr(owner, attribute)

    def close_first(*arguments: object) -> object:
        if segment.exists():
            segment.rename(closed)
        return real(*arguments)

    monkeypatch.setattr(owner, attribute, close_first)
    segments._close_abandoned(tmp_path / "segments")  # noqa: SLF001 - the race is in this step
    assert names(tmp_path / "segments") == ["a.ndjson"]
    assert read_segment(closed, MODEL) is not None


def test_segments_are_stored_in_groups_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = write_segment(tmp_path, "0", [logged("r0")]).stat().st_size
    for number in range(1, 5):
        write_segment(tmp_path, str(number), [logged(f"r{number}")])
    monkeypatch.setattr(segments, "MAX_BYTES", 2 * size)
    store = log_store(tmp_path)
    assert ingest_segments(store, tmp_path / "segments", MODEL) == 5
    assert [file.rows for file in store.manifest.files] == [2, 2, 1]
    assert store.manifest.sources == ["4.ndjson"]
    assert stored_ids(store) == [f"r{number}" for number in range(5)]


def test_rows_around_midnight_are_filed_by_their_day_in_utc(tmp_path: Path) -> None:
    midnight = datetime(2026, 3, 5, tzinfo=UTC)
    moments = [midnight - timedelta(microseconds=1), midnight, midnight + timedelta(days=1, microseconds=-1)]
    write_segment(tmp_path, "a", [logged(f"r{number}", moment) for number, moment in enumerate(moments)])
    store = log_store(tmp_path)
    assert ingest_segments(store, tmp_path / "segments", MODEL) == 3
    before, after = store.manifest.files
    assert (before.path.split("/")[0], before.rows, before.first) == ("day=2026-03-04", 1, moments[0])
    assert (after.path.split("/")[0], after.rows) == ("day=2026-03-05", 2)
    assert (after.first, after.last) == (moments[1], moments[2])


def test_folder_without_segments(tmp_path: Path) -> None:
    assert ingest_segments(log_store(tmp_path), tmp_path / "segments", MODEL) == 0
    assert not (tmp_path / "segments" / "bad").exists()
