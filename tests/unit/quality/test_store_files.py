"""A store in a bucket, beyond what every store does: copies, and the move from the folder."""

from pathlib import Path

import pytest

from src.core.errors import ConfigError
from src.quality.bucket import Bucket
from src.quality.manifest import Manifest
from tests.support.faults import Fault, Killed
from tests.support.object_store import object_keys
from tests.support.quality_files import MODEL, NOON, log_store, rows_table, stored_ids

pytestmark = pytest.mark.slow


def objects(bucket: Bucket, root: Path) -> list[str]:
    return object_keys(f"{bucket.address}/{root.name}/log/{MODEL}")


def test_file_is_fetched_once(bucket: Bucket, tmp_path: Path) -> None:
    store = log_store(tmp_path / "a" / "x", bucket)
    store.add([rows_table(["r1"])])
    elsewhere = log_store(tmp_path / "b" / "x", bucket)
    assert elsewhere.manifest == store.manifest
    (path,) = elsewhere.paths()
    assert Path(path).is_relative_to(tmp_path / "b")
    bucket.delete(f"x/log/{MODEL}/{store.manifest.files[0].path}")
    assert stored_ids(elsewhere) == ["r1"]


def test_new_file_needs_no_fetching(bucket: Bucket, tmp_path: Path) -> None:
    store = log_store(tmp_path, bucket)
    store.add([rows_table(["r1"])])
    with Fault(0, owner=Bucket, names=["download"]).injected():
        assert stored_ids(store) == ["r1"]


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda _: b""])
def test_copy_that_is_cut_off_is_fetched_again(bucket: Bucket, tmp_path: Path, damage: object) -> None:
    store = log_store(tmp_path, bucket)
    store.add([rows_table(["r1"])])
    (path,) = map(Path, store.paths())
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert stored_ids(store) == ["r1"]


def test_only_files_with_rows_from_a_time_on_are_fetched(bucket: Bucket, tmp_path: Path) -> None:
    store = log_store(tmp_path / "a" / "x", bucket)
    store.add([rows_table(["r1"], NOON), rows_table(["r2"], NOON.replace(day=5))])
    elsewhere = log_store(tmp_path / "b" / "x", bucket)
    assert len(elsewhere.paths(NOON.replace(day=5))) == 1
    assert len(list(elsewhere.folder.glob("day=*/*"))) == 1


def test_settle_deletes_unlisted_objects_and_folders_of_days_without_files(bucket: Bucket, tmp_path: Path) -> None:
    store = log_store(tmp_path, bucket)
    store.add([rows_table(["r1"]), rows_table(["r2"], NOON.replace(day=5))])
    for left in ("day=2026-03-04/left.parquet", "day=2026-03-06/left.parquet", "notes.txt"):
        bucket.write(f"{tmp_path.name}/log/{MODEL}/{left}", b"half")
    store.expire(NOON.replace(day=5), 10**9)
    store.settle()
    (file,) = store.manifest.files
    assert [key for key in objects(bucket, tmp_path) if key] == [file.path, "manifest.json", "notes.txt"]


def test_rows_that_were_in_the_folder_move_to_the_bucket(bucket: Bucket, tmp_path: Path) -> None:
    before = log_store(tmp_path)
    with before.locked():
        before.add([rows_table(["r1"]), rows_table(["r2"], NOON.replace(day=5))])
        before.erase(["x"], NOON)
        manifest = before.manifest
    store = log_store(tmp_path, bucket)
    for _ in range(2):
        with store.locked():
            assert store.manifest == manifest
    assert objects(bucket, tmp_path) == [*(file.path for file in manifest.files), "manifest.json"]
    assert not (store.folder / "manifest.json").exists()
    assert stored_ids(log_store(tmp_path / "new" / tmp_path.name, bucket)) == ["r1", "r2"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", range(3))
def test_move_that_was_interrupted_goes_on(bucket: Bucket, tmp_path: Path, step: int, when: str) -> None:
    log_store(tmp_path).add([rows_table(["r1"]), rows_table(["r2"], NOON.replace(day=5))])
    store = log_store(tmp_path, bucket)
    with pytest.raises(Killed), Fault(step, when, owner=Bucket, names=["upload", "write"]).injected(), store.locked():
        pass
    with store.locked():
        store.settle()
        assert stored_ids(store) == ["r1", "r2"]
    assert len(objects(bucket, tmp_path)) == 3
    assert not (store.folder / "manifest.json").exists()


def test_folder_and_bucket_with_different_rows_are_not_mixed(bucket: Bucket, tmp_path: Path) -> None:
    store = log_store(tmp_path, bucket)
    with store.locked():
        store.add([rows_table(["r1"])])
    log_store(tmp_path).add([rows_table(["r2"])])  # as with PREDICTION_LOG_STORE unset for a while
    with pytest.raises(ConfigError, match=r"manifest.json and s3://.* have different rows"), store.locked():
        pass
    assert stored_ids(store) == ["r1"]
    assert stored_ids(log_store(tmp_path)) == ["r2"]


def test_without_the_setting_the_bucket_stays_as_it_is(bucket: Bucket, tmp_path: Path) -> None:
    store = log_store(tmp_path, bucket)
    with store.locked():
        store.add([rows_table(["r1"])])
    folder = log_store(tmp_path)
    with folder.locked():
        folder.settle()
    assert (folder.manifest, list(folder.folder.glob("day=*"))) == (Manifest(), [])
    assert stored_ids(store) == ["r1"]


def test_damaged_manifest_is_reported_with_its_address(bucket: Bucket, tmp_path: Path) -> None:
    bucket.write(f"{tmp_path.name}/log/{MODEL}/manifest.json", b"{")
    with pytest.raises(ConfigError, match=rf"{bucket.address}/{tmp_path.name}/log/{MODEL}/manifest.json is damaged"):
        _ = log_store(tmp_path, bucket).manifest


def test_objects_that_are_copied_to_the_folder_are_a_store_without_the_bucket(bucket: Bucket, tmp_path: Path) -> None:
    store = log_store(tmp_path, bucket)
    store.add([rows_table(["r1"]), rows_table(["r2"], NOON.replace(day=5))])
    root = tmp_path / "copy"
    for key in bucket.keys(tmp_path.name):
        bucket.download(f"{tmp_path.name}/{key}", root / key)
    folder = log_store(root)
    with folder.locked():
        folder.settle()
    assert (folder.manifest, stored_ids(folder)) == (store.manifest, ["r1", "r2"])
