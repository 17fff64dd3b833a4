"""The store's process is killed before or after any call of the file system, and its successor goes on."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from src.quality.erased_rows import names_of
from src.quality.manifest import write_manifest
from src.quality.parquet_store import ParquetStore
from src.quality.segments import ingest_segments
from tests.support.faults import Fault, Killed
from tests.support.quality_files import MODEL, NOON, log_store, logged, rows_table, stored_ids, write_segment

pytestmark = pytest.mark.slow

IDS = [f"r{number}" for number in range(6)]


def prepare(root: Path) -> ParquetStore:
    """Two stored days, and two segments with rows of both."""
    store = log_store(root)
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


def killed_at_every_step(root: Path, change: Callable[[ParquetStore], None]) -> Iterator[ParquetStore]:
    """A store after each point at which a process can die during a change; at least at twenty of them."""
    for step in range(1000):
        for when in ("before", "after"):
            store = prepare(root / f"{when}{step}")
            fault = Fault(step, when)
            try:
                with fault.injected():
                    change(store)
            except Killed:
                yield store
            else:
                assert not fault.struck
                assert step > 10
                return


def no_rest(store: ParquetStore) -> bool:
    """Whether nothing but the listed files is on the disk, and each of them is."""
    folder = store.folder.parents[1] / "segments"
    return sorted(map(str, store.folder.glob("day=*/*"))) == sorted(store.paths()) and not list(folder.iterdir())


def test_ingest_stores_every_row_once(tmp_path: Path) -> None:
    for store in killed_at_every_step(tmp_path, ingest):
        before = stored_ids(store)
        assert set(before) <= set(IDS)
        assert len(before) == len(set(before))
        ingest(store)
        assert stored_ids(store) == IDS
        assert no_rest(store)


def test_compact_keeps_every_row_once(tmp_path: Path) -> None:
    for store in killed_at_every_step(tmp_path, compact):
        assert stored_ids(store) == ["r0", "r1"]
        ingest(store)
        compact(store)
        assert stored_ids(store) == IDS
        assert [file.rows for file in store.manifest.files] == [3, 3]
        assert no_rest(store)


def test_expire_deletes_the_day_or_nothing(tmp_path: Path) -> None:
    for store in killed_at_every_step(tmp_path, expire):
        assert stored_ids(store) in (["r0", "r1"], [])
        expire(store)
        ingest(store)
        assert stored_ids(store) == IDS[2:]
        assert no_rest(store)


def test_erase_takes_effect_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    for store in killed_at_every_step(tmp_path, erase):
        remembered = len(store.manifest.erased) == 2
        assert stored_ids(store) == (["r0"] if remembered else ["r0", "r1"])
        ingest(store)
        assert stored_ids(store) == (["r0", "r2", "r3", "r4"] if remembered else IDS)
        erase(store)
        assert stored_ids(store) == ["r0", "r2", "r3", "r4"]
        assert no_rest(store)


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
        "src.quality.parquet_store.write_manifest",
        lambda folder, manifest: [events.append("manifest"), write_manifest(folder, manifest)],
    )
    monkeypatch.setattr("src.quality.segments.MAX_BYTES", 1)
    ingest(store)
    assert events == ["manifest", "sync segments"] * 2
