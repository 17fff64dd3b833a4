import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.core.errors import SpoolBusyError, SpoolFullError, SpoolUnavailableError
from src.serving.watch.feedback_store import STALE_SECONDS, FeedbackStore
from tests.support.faults import Fault, Killed, bad_disk, full_disk

LINES = [b"one\n", b"two\n"]


@pytest.fixture
def store(tmp_path: Path) -> FeedbackStore:
    store = FeedbackStore(tmp_path / "quality" / "feedback", max_pending=10)
    store.create()
    return store


def waiting(store: FeedbackStore) -> list[bytes]:
    """What the quality service would read."""
    return [path.read_bytes() for path in sorted(store.folder.glob("*.ndjson"))]


def test_each_request_is_a_file_and_names_sort_by_time(store: FeedbackStore) -> None:
    for number in range(5):
        store.write([b"%d\n" % number])
    assert waiting(store) == [b"0\n", b"1\n", b"2\n", b"3\n", b"4\n"]
    assert len(list(store.folder.iterdir())) == 5


def test_at_most_so_many_files_wait(store: FeedbackStore) -> None:
    (store.folder / "a.ndjson.tmp").write_bytes(b"")
    for _ in range(10):
        store.write(LINES)
    with pytest.raises(SpoolBusyError, match="10 requests with labels wait"):
        store.write(LINES)
    next(store.folder.glob("*.ndjson")).unlink()
    store.write(LINES)
    assert len(waiting(store)) == 10


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", range(6))  # list, open, fsync, rename, open and fsync of the folder
def test_killed_process_leaves_the_whole_file_or_none(store: FeedbackStore, step: int, when: str) -> None:
    with Fault(step, when).injected(), pytest.raises(Killed):
        store.write(LINES)
    is_renamed = step > 3 or (step == 3 and when == "after")
    assert waiting(store) == ([b"one\ntwo\n"] if is_renamed else [])
    store.write([b"next\n"])
    assert waiting(store)[-1] == b"next\n"


@pytest.mark.parametrize("step", range(4))  # open, fsync, rename, fsync of the folder
def test_full_disk_accepts_nothing(store: FeedbackStore, step: int) -> None:
    with full_disk(step).injected(), pytest.raises(SpoolFullError, match="free some space"):
        store.write(LINES)
    assert list(store.folder.iterdir()) == []


@pytest.mark.parametrize("step", range(6))
def test_bad_disk_accepts_nothing(store: FeedbackStore, step: int) -> None:
    with (
        bad_disk(step).injected(),
        pytest.raises(SpoolUnavailableError, match=r"folder of labels .*Input/output error"),
    ):
        store.write(LINES)
    assert list(store.folder.iterdir()) == []


def test_missing_folder_accepts_nothing(tmp_path: Path) -> None:
    with pytest.raises(SpoolUnavailableError, match="No such file"):
        FeedbackStore(tmp_path / "nowhere", max_pending=1).write(LINES)


def test_lines_that_fail_accept_nothing(store: FeedbackStore) -> None:
    def lines() -> Iterator[bytes]:
        yield b"one\n"
        raise KeyError

    with pytest.raises(KeyError):
        store.write(lines())
    assert list(store.folder.iterdir()) == []


def test_create_deletes_only_old_temporary_files(store: FeedbackStore) -> None:
    store.write(LINES)
    kept = next(store.folder.iterdir())
    now = time.time()
    for name, age in (("old.ndjson.tmp", STALE_SECONDS + 60), ("new.ndjson.tmp", STALE_SECONDS - 60), (kept.name, 1e6)):
        (store.folder / name).touch()
        os.utime(store.folder / name, (now - age, now - age))
    store.create()
    assert {path.name for path in store.folder.iterdir()} == {"new.ndjson.tmp", kept.name}


def test_many_threads_write_files_of_their_own(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path, max_pending=1000)
    threads = [threading.Thread(target=store.write, args=([b"%d\n" % number],)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waiting(store), key=int) == [b"%d\n" % number for number in range(40)]
