from datetime import timedelta
from pathlib import Path

import pytest

from src.quality.bucket import Bucket
from src.quality.parquet_store import ParquetStore
from src.quality.stores import all_stores, expire_together, label_store, log_store
from tests.support.quality_files import NOON, rows_table, stored_ids

DAY = timedelta(days=1)


def test_folders_of_models() -> None:
    root = Path("/data/quality")
    assert log_store(root, "iris 2.0").folder == root / "log/iris 2.0"
    assert label_store(root, "a/../b").folder == root / "labels/a%2F..%2Fb"


def test_every_model_that_has_had_a_store_is_found(tmp_path: Path) -> None:
    assert all_stores(tmp_path) == {}
    for store in (log_store(tmp_path, "iris 2.0%"), label_store(tmp_path, "ünique"), log_store(tmp_path, "ünique")):
        with store.locked():
            pass
    for folder in ("log/lost+found", "segments/bad", "other/model"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "other/model/store.lock").touch()
    found = all_stores(tmp_path)
    assert list(found) == ["iris 2.0%", "ünique"]
    assert found["ünique"].log.folder == log_store(tmp_path, "ünique").folder
    assert found["iris 2.0%"].labels.folder == label_store(tmp_path, "iris 2.0%").folder


@pytest.mark.slow
def test_stores_in_a_bucket_are_found_also_without_a_folder(tmp_path: Path, bucket: Bucket) -> None:
    elsewhere = log_store(tmp_path / "a", "iris 2.0%", bucket)
    with elsewhere.locked():
        elsewhere.add([rows_table(["r1"])])
    with label_store(tmp_path / "b", "here", bucket).locked():
        pass
    found = all_stores(tmp_path / "b", bucket)
    assert list(found) == ["here", "iris 2.0%"]
    assert stored_ids(found["iris 2.0%"].log) == ["r1"]
    assert found["iris 2.0%"].labels.paths() == []
    assert bucket.folders("log") == ["iris 2.0%25"]


@pytest.fixture
def logs(tmp_path: Path) -> list[ParquetStore]:
    """Of two models: rows of days 1 and 3, and of days 0 and 2, a file each."""
    stores = [log_store(tmp_path, model) for model in ("a", "b")]
    for store, days in zip(stores, ((1, 3), (0, 2)), strict=True):
        with store.locked():
            for day in days:
                store.add([rows_table([f"day {day}"], NOON + day * DAY)])
    return stores


@pytest.mark.parametrize(
    ("files", "left"),
    [
        (4, [["day 1", "day 3"], ["day 0", "day 2"]]),
        (3, [["day 1", "day 3"], ["day 2"]]),
        (2, [["day 3"], ["day 2"]]),
        (1, [["day 3"], []]),
        (0, [[], []]),
    ],
)
def test_the_oldest_files_of_all_stores_are_deleted_first(
    logs: list[ParquetStore], files: int, left: list[list[str]]
) -> None:
    sizes = [file.bytes for store in logs for file in store.manifest.files]
    newest = [sizes[1], sizes[3], sizes[0], sizes[2]]
    expire_together(logs, NOON, sum(newest[:files]))
    assert [stored_ids(store) for store in logs] == left
    expire_together(logs, NOON, max(0, sum(newest[:files]) - 1))
    assert sum(len(store.paths()) for store in logs) == max(0, files - 1)


def test_every_store_loses_its_old_rows_and_they_take_no_room(logs: list[ParquetStore]) -> None:
    sizes = [file.bytes for store in logs for file in store.manifest.files]
    expire_together(logs, NOON + 2 * DAY, sizes[1] + sizes[3])
    assert [stored_ids(store) for store in logs] == [["day 3"], ["day 2"]]
    expire_together(logs, NOON + 2 * DAY + timedelta(microseconds=1), 10**9)
    assert [stored_ids(store) for store in logs] == [["day 3"], []]
