import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from src.quality import parquet_files, parquet_store
from src.quality.erased_rows import names_of
from src.quality.manifest import Manifest, ReadFile
from src.quality.parquet_store import ParquetStore
from tests.support import quality_files
from tests.support.quality_files import NOON, NewStore, rows_table, stored_ids, stored_rows

DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
UNLIMITED = 10**12


def with_feature(ids: list[str], name: str, values: pa.Array) -> pa.Table:
    return rows_table(ids).append_column(f"feature_{name}", values)


def source(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / "segments"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("rows", encoding="utf-8")
    return path


def test_new_store_is_empty(log_store: NewStore, tmp_path: Path) -> None:
    store = log_store(tmp_path)
    assert (store.manifest, store.paths()) == (Manifest(), [])


def test_files_are_in_the_order_of_their_first_rows(log_store: NewStore, tmp_path: Path) -> None:
    store = log_store(tmp_path)
    for number, moment in enumerate([NOON + DAY, NOON - DAY, NOON]):
        assert store.add([rows_table([f"r{number}"], moment)]) == 1
    assert [row["request_id"] for row in stored_rows(store)] == ["r1", "r2", "r0"]


def test_sources_are_deleted_and_a_missing_one_is_no_error(log_store: NewStore, tmp_path: Path) -> None:
    store = log_store(tmp_path)
    gone, stays = source(tmp_path, "a"), source(tmp_path, "b")
    assert store.add([rows_table(["r1"]), rows_table([]), rows_table(["r2", "r3"])], ["a", "missing"]) == 3
    assert (gone.exists(), stays.exists()) == (False, True)
    assert store.manifest.sources == ["a", "missing"]


def test_files_that_were_read_are_remembered_by_name_until_they_are_forgotten(
    log_store: NewStore, tmp_path: Path
) -> None:
    store = log_store(tmp_path)
    for name, digest in [("b.csv", "1"), ("a.csv", "2"), ("b.csv", "3")]:
        store.add([], read=ReadFile(name=name, bytes=1, modified_ns=1, sha256=digest))
    assert [(file.name, file.sha256) for file in store.manifest.read] == [("a.csv", "2"), ("b.csv", "3")]
    store.add([rows_table(["r1"])])
    store.forget_read(["a.csv", "c.csv"])
    assert [file.name for file in store.manifest.read] == ["b.csv"]
    assert stored_ids(store) == ["r1"]


def test_rows_are_durable_before_the_manifest_lists_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = quality_files.log_store(tmp_path)
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    store.add([rows_table(["r1"])])
    (path,) = store.paths()
    assert synced == [Path(path).name, "day=2026-03-04", "iris", "manifest.tmp", "iris"]


def test_forgetting_nothing_writes_nothing(tmp_path: Path) -> None:
    store = quality_files.log_store(tmp_path)
    store.add([], read=ReadFile(name="a.csv", bytes=1, modified_ns=1, sha256="1"))
    before = (store.folder / "manifest.json").stat().st_ino
    store.forget_read(["b.csv"])
    assert (store.folder / "manifest.json").stat().st_ino == before


def test_settle_deletes_stored_sources_unlisted_files_and_empty_days(log_store: NewStore, tmp_path: Path) -> None:
    store = log_store(tmp_path)
    store.add([rows_table(["r1"])], ["a"])
    back = source(tmp_path, "a")  # as if the deletion had not been made durable
    other = source(tmp_path, "b")
    day, empty = store.folder / "day=2026-03-04", store.folder / "day=2026-03-05"
    (day / "left.parquet").write_bytes(b"half")
    empty.mkdir()
    (empty / "left.parquet").write_bytes(b"")
    store.settle()
    assert (back.exists(), other.exists(), empty.exists()) == (False, True, False)
    assert [str(path) for path in day.iterdir()] == store.paths()
    assert stored_ids(store) == ["r1"]


# -- compact ---------------------------------------------------------------------------------------------


def test_compact_joins_the_files_of_each_day_with_the_columns_of_all(log_store: NewStore, tmp_path: Path) -> None:
    store = log_store(tmp_path)
    store.add([with_feature(["r1"], "a", pa.array([1.5])), rows_table(["r2"], NOON + DAY, rate=0.25)])
    store.add([with_feature(["r3", "r4"], "b", pa.array(["x", None])), rows_table(["r5"], NOON, key="k", rate=0.5)])
    before = stored_rows(store)
    store.compact()
    rows = {row["request_id"]: row for row in stored_rows(store)}
    for row in before:
        assert row.items() <= rows[row["request_id"]].items()
    assert sorted(rows) == ["r1", "r2", "r3", "r4", "r5"]
    assert (rows["r1"]["feature_b"], rows["r3"]["feature_a"]) == (None, None)
    first, second = store.manifest.files
    assert (first.rows, first.rates, second.rows, second.rates) == (4, [0.5, 1.0], 1, [0.25])
    assert sorted(str(path) for path in store.folder.glob("day=*/*")) == sorted(store.paths())


def test_compact_changes_nothing_the_second_time(log_store: NewStore, tmp_path: Path) -> None:
    store = log_store(tmp_path)
    for number in range(3):
        store.add([with_feature([f"r{number}"], "a", pa.array([number]))])
        store.add([with_feature([f"t{number}"], "a", pa.array([str(number)]))])
    store.compact()
    once = store.manifest
    store.compact()
    assert store.manifest == once
    assert [file.rows for file in once.files] == [3, 3]


def test_columns_whose_type_changed_stay_in_files_of_their_own(log_store: NewStore, tmp_path: Path) -> None:
    store = log_store(tmp_path)
    exact = 2**53 + 1
    store.add([with_feature(["r1"], "a", pa.array([exact])), with_feature(["r2"], "a", pa.array([0.5]))])
    store.add([with_feature(["r3"], "b", pa.array([True])), with_feature(["r4"], "a", pa.array(["x"]))])
    store.compact()
    values = {row["request_id"]: row.get("feature_a") for row in stored_rows(store)}
    assert values == {"r1": exact, "r2": 0.5, "r3": None, "r4": "x"}
    assert len(store.manifest.files) == 3


def test_large_files_and_days_with_few_files_are_not_compacted(
    log_store: NewStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = log_store(tmp_path)
    for number in range(3):
        store.add([rows_table([f"r{number}"])])
    store.compact(least_files=4)
    assert len(store.manifest.files) == 3
    store.compact(least_files=3)
    assert len(store.manifest.files) == 1
    store.add([rows_table(["r3"])])
    monkeypatch.setattr(parquet_store, "LARGE_BYTES", max(file.bytes for file in store.manifest.files))
    store.compact()
    assert len(store.manifest.files) == 2
    assert stored_ids(store) == ["r0", "r1", "r2", "r3"]


def test_rows_are_written_in_row_groups_of_bounded_size(
    log_store: NewStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_files, "MAX_ROWS", 1000)
    store = log_store(tmp_path)
    for first in range(0, 2500, 500):
        store.add([rows_table([f"r{number}" for number in range(first, first + 500)])])
    store.compact()
    (path,) = store.paths()
    with pq.ParquetFile(path) as file:
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
    assert sizes == [1000, 1000, 500]


# -- expire ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("late", "left"), [(timedelta(0), ["r2", "r3"]), (MICROSECOND, ["r3"])])
def test_files_expire_once_all_their_rows_are_too_old(
    log_store: NewStore, tmp_path: Path, late: timedelta, left: list[str]
) -> None:
    store = log_store(tmp_path)
    store.add([rows_table(["r1"], NOON - MICROSECOND), rows_table(["r2"]), rows_table(["r3"], NOON + DAY)])
    store.expire(NOON + late, UNLIMITED)
    assert stored_ids(store) == left
    assert len(list(store.folder.glob("day=*/*"))) == len(left)


def test_file_with_one_row_that_is_young_enough_stays(log_store: NewStore, tmp_path: Path) -> None:
    store = log_store(tmp_path)
    store.add([pa.concat_tables([rows_table(["old"], NOON - timedelta(hours=3)), rows_table(["young"])])])
    store.expire(NOON, UNLIMITED)
    assert stored_ids(store) == ["old", "young"]


@pytest.mark.parametrize(
    ("files", "spare", "left"), [(3, 0, 3), (3, -1, 2), (2, 0, 2), (2, -1, 1), (1, 0, 1), (1, -1, 0), (0, 0, 0)]
)
def test_oldest_files_are_deleted_until_the_rest_is_small_enough(
    log_store: NewStore, tmp_path: Path, files: int, spare: int, left: int
) -> None:
    store = log_store(tmp_path)
    for number in range(3):
        store.add([rows_table([f"r{number}"], NOON + number * DAY)])
    sizes = [file.bytes for file in store.manifest.files]
    store.expire(NOON - DAY, sum(sizes[3 - files :]) + spare)
    assert stored_ids(store) == ["r0", "r1", "r2"][3 - left :]


def test_age_counts_before_size(log_store: NewStore, tmp_path: Path) -> None:
    store = log_store(tmp_path)
    store.add([rows_table(["r1"]), rows_table(["r2"], NOON + DAY)])
    store.expire(NOON + DAY, store.manifest.files[1].bytes)
    assert stored_ids(store) == ["r2"]


def test_erased_ids_are_forgotten_once_rows_of_their_time_are_too_old(log_store: NewStore, tmp_path: Path) -> None:
    store = log_store(tmp_path)
    store.erase(["a"], NOON - MICROSECOND)
    store.erase(["b"], NOON)
    store.expire(NOON, UNLIMITED)
    store.add([rows_table(["a"]), rows_table(["b"])])
    assert stored_ids(store) == ["a"]


# -- erase -----------------------------------------------------------------------------------------------

ROWS = ["abc", "abc/1", "abc/10", "abcd", "ab", "x"]


@pytest.mark.parametrize(
    ("given", "erased"),
    [
        ("abc", ["abc", "abc/1", "abc/10"]),
        ("abc/0", ["abc"]),
        ("abc/1", ["abc/1"]),
        ("abc/01", ["abc/1"]),
        ("abc/10", ["abc/10"]),
        ("abc/2", []),
        ("k", ["x"]),
        ("k/0", []),
        ("", []),
        ("abc/", []),
    ],
)
def test_erased_are_a_request_or_one_row_or_a_key_in_the_store_and_later(
    log_store: NewStore, tmp_path: Path, given: str, erased: list[str]
) -> None:
    store, later = log_store(tmp_path), log_store(tmp_path / "later")
    tables = [rows_table(ROWS[:-1]), rows_table(["x"], key="k"), rows_table(["y"], key="kk")]
    left = sorted(set(ROWS) - set(erased) | {"y"})
    store.add([pa.concat_tables(tables)])
    assert store.erase(names_of(given), NOON) == len(erased)
    assert stored_ids(store) == left
    assert later.erase(names_of(given), NOON) == 0
    assert later.add(tables) == len(left)
    assert stored_ids(later) == left


def test_key_that_is_like_the_id_of_a_row_is_erased_as_it_is(log_store: NewStore, tmp_path: Path) -> None:
    store = log_store(tmp_path)
    store.add([rows_table(["r1"], key="2026/03"), rows_table(["r2"], key="2026/3")])
    assert store.erase(names_of("2026/03"), NOON) == 2  # 2026/3 is the row that 2026/03 may stand for
    store.add([rows_table(["r3"], key="2026/3")])
    assert store.erase(names_of("2026/4"), NOON) == 0


def test_rows_with_an_erased_key_are_left_out_until_the_moment_of_its_erasure(
    log_store: NewStore, tmp_path: Path
) -> None:
    store = log_store(tmp_path)
    store.erase(["k"], NOON)
    store.add([rows_table(["r1"], NOON, key="k"), rows_table(["r2"], NOON + MICROSECOND, key="k")])
    assert stored_ids(store) == ["r2"]


def test_rows_of_an_erased_request_are_left_out_whenever_they_arrive(log_store: NewStore, tmp_path: Path) -> None:
    store = log_store(tmp_path)
    store.erase(["a", "b/1"], NOON)
    store.add([rows_table(["a", "a/1", "b", "b/1", "c"], NOON + DAY)])
    assert stored_ids(store) == ["b", "c"]


def test_second_erasure_of_an_id_replaces_the_first_and_the_id_itself_is_not_written(tmp_path: Path) -> None:
    store = quality_files.log_store(tmp_path)
    for moment in (NOON, NOON + DAY):
        store.erase(["customer-1"], moment)
    assert [entry.at for entry in store.manifest.erased] == [NOON + DAY]
    assert "customer-1" not in (store.folder / "manifest.json").read_text(encoding="utf-8")


def test_files_without_the_id_stay_as_they_are_and_one_of_erased_rows_alone_is_deleted(
    log_store: NewStore, tmp_path: Path
) -> None:
    store = log_store(tmp_path)
    store.add([rows_table(["a", "b"], rate=0.5), rows_table(["c"]), rows_table(["a/1"])])
    _, untouched, _ = store.manifest.files
    assert store.erase(["a"], NOON) == 2
    files = store.manifest.files
    assert untouched in files
    assert [(file.rows, file.rates) for file in files if file != untouched] == [(1, [0.5])]
    assert len(list(store.folder.glob("day=*/*"))) == 2
    assert sorted(row["request_id"] for row in stored_rows(store)) == ["b", "c"]


def test_rows_with_a_key_have_names_that_erase_them_alone(log_store: NewStore, tmp_path: Path) -> None:
    store = log_store(tmp_path)
    store.add([rows_table(["a", "b/2"], key="k"), rows_table(["a/1", "b"], key="other"), rows_table(["c"])])
    names = store.rows_with_key(["k"])
    assert sorted(names) == ["a/0", "b/2"]
    assert store.erase(names, NOON) == 2
    assert stored_ids(store) == ["a/1", "b", "c"]


def test_time_of_a_label_counts_before_its_receipt_where_its_key_was_erased(tmp_path: Path) -> None:
    store = ParquetStore(tmp_path, tmp_path, time="received")
    true_at = [NOON, NOON + MICROSECOND, None]
    table = pa.table(
        {
            "request_id": pa.array([None] * 3, pa.string()),
            "key": ["k"] * 3,
            "label": ["1", "2", "3"],
            "time": pa.array(true_at, pa.timestamp("us", tz="UTC")),
            "received": pa.array([NOON + DAY] * 3, pa.timestamp("us", tz="UTC")),
        }
    )
    store.erase(["k"], NOON)
    store.add([table])
    assert [row["label"] for row in stored_rows(store)] == ["2", "3"]
    (file,) = store.manifest.files
    assert (file.path[:14], file.first) == ("day=2026-03-05", datetime(2026, 3, 5, 12, tzinfo=UTC))
