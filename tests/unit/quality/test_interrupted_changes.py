"""The store's process is killed before or after any call of the file system, and its successor goes on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from src.quality.bucket import Bucket, open_bucket
from src.quality.erased_rows import names_of
from src.quality.manifest import write_manifest
from src.quality.parquet_store import ParquetStore
from src.quality.segments import ingest_segments
from tests.support import quality_files
from tests.support.faults import Fault, Killed
from tests.support.object_store import object_keys
from tests.support.quality_files import MODEL, NOON, NewStore, logged, rows_table, stored_ids, write_segment

pytestmark = pytest.mark.slow

IDS = [f"r{number}" for number in range(6)]
# What changes the bucket, or the copies of its objects.
BUCKET_CALLS = ("write", "upload", "download", "delete", "delete_folder")


@dataclass(frozen=True)
class Carrier:
    """What carries the stores, the calls at which a process is killed, and how many a change has at least."""

    new_store: NewStore
    fault: Callable[[int, str], Fault]
    least_calls: int
    address: str | None = None


@pytest.fixture(params=["folder", "bucket"])
def carrier(request: pytest.FixtureRequest) -> Carrier:
    if request.param == "folder":
        return Carrier(quality_files.log_store, Fault, 11)
    address = request.getfixturevalue("store_address")
    fault = partial(Fault, owner=Bucket, names=BUCKET_CALLS)
    return Carrier(partial(quality_files.log_store, bucket=open_bucket(address)), fault, 2, address)


def prepare(root: Path, new_store: NewStore = quality_files.log_store) -> ParquetStore:
    """Two stored days, and two segments with rows of both."""
    store = new_store(root)
    yesterday = NOON - timedelta(days=1)
    store.add([rows_table(["r0"], yesterday), rows_table(["r1"], yesterday, key="k"), rows_table(["x"])])
    store.erase(["x"], NOON)
    write_segment(root, "a", [logged("r2", yesterday), logged("r3")])
    write_segment(root, "b", [logged("r4"), logged("r5", key="k"), logged("x")], is_open=True, end='{"id')
    return store


def ingest(store: ParquetStore) -> None:
    with store.locked():
        store.settle()
        ingest_segments(store, store.folder.parents[1] / "segments", MODEL)


def compact(store: ParquetStore) -> None:
    with store.locked():
        store.settle()
        store.compact()


def expire(store: ParquetStore) -> None:
    with store.locked():
        store.settle()
        store.expire(NOON, 10**9)


def erase(store: ParquetStore) -> None:
    with store.locked():
        store.settle()
        store.erase(names_of("k"), NOON)


def killed_at_every_step(
    root: Path, carrier: Carrier, change: Callable[[ParquetStore], None]
) -> Iterator[ParquetStore]:
    """A store after each point at which a process can die during a change."""
    for step in range(1000):
        for when in ("before", "after"):
            store = prepare(root / f"{when}{step}", carrier.new_store)
            fault = carrier.fault(step, when)
            try:
                with fault.injected():
                    change(store)
            except Killed:
                yield store
            else:
                assert not fault.struck
                assert step >= carrier.least_calls
                return
            if fault.only_reads:
                break


def no_rest(store: ParquetStore, carrier: Carrier | None = None) -> bool:
    """Whether nothing but the listed files is on the disk, and in the bucket, and each of them is."""
    root = store.folder.parents[1]
    is_clean = sorted(map(str, store.folder.glob("day=*/*"))) == sorted(store.paths())
    is_clean = is_clean and not list((root / "segments").iterdir())
    if carrier is None or carrier.address is None:
        return is_clean
    keys = object_keys(f"{carrier.address}/{root.name}/log/{MODEL}")
    listed = ["manifest.json", *(file.path for file in store.manifest.files)]
    return is_clean and sorted(key for key in keys if key and not key.endswith("/")) == sorted(listed)


def test_ingest_stores_every_row_once(tmp_path: Path, carrier: Carrier) -> None:
    for store in killed_at_every_step(tmp_path, carrier, ingest):
        before = stored_ids(store)
        assert set(before) <= set(IDS)
        assert len(before) == len(set(before))
        ingest(store)
        assert stored_ids(store) == IDS
        assert no_rest(store, carrier)


def test_compact_keeps_every_row_once(tmp_path: Path, carrier: Carrier) -> None:
    for store in killed_at_every_step(tmp_path, carrier, compact):
        assert stored_ids(store) == ["r0", "r1"]
        ingest(store)
        compact(store)
        assert stored_ids(store) == IDS
        assert [file.rows for file in store.manifest.files] == [3, 3]
        assert no_rest(store, carrier)


def test_expire_deletes_the_day_or_nothing(tmp_path: Path, carrier: Carrier) -> None:
    for store in killed_at_every_step(tmp_path, carrier, expire):
        assert stored_ids(store) in (["r0", "r1"], [])
        expire(store)
        ingest(store)
        assert stored_ids(store) == IDS[2:]
        assert no_rest(store, carrier)


def test_erase_takes_effect_as_a_whole_or_not_at_all(tmp_path: Path, carrier: Carrier) -> None:
    for store in killed_at_every_step(tmp_path, carrier, erase):
        remembered = len(store.manifest.erased) == 2
        assert stored_ids(store) == (["r0"] if remembered else ["r0", "r1"])
        ingest(store)
        assert stored_ids(store) == (["r0", "r2", "r3", "r4"] if remembered else IDS)
        erase(store)
        assert stored_ids(store) == ["r0", "r2", "r3", "r4"]
        assert no_rest(store, carrier)


def test_source_whose_deletion_was_lost_with_the_power_is_not_stored_again(tmp_path: Path) -> None:
    store = prepare(tmp_path)
    segment = tmp_path / "segments" / "a.ndjson"
    content = segment.read_bytes()
    ingest(store)
    segment.write_bytes(content)
    ingest(store)
    assert stored_ids(store) == IDS
    assert no_rest(store)


def test_deletion_of_sources_is_durable_before_another_manifest_forgets_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = prepare(tmp_path)
    events: list[str] = []
    monkeypatch.setattr("src.quality.parquet_store.sync_folder", lambda folder: events.append(f"sync {folder.name}"))
    monkeypatch.setattr(
        "src.quality.store_files.write_manifest",
        lambda folder, manifest: [events.append("manifest"), write_manifest(folder, manifest)],
    )
    monkeypatch.setattr("src.quality.segments.MAX_BYTES", 1)
    ingest(store)
    assert events == ["manifest", "sync segments"] * 2
