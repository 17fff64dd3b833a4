"""Segments as their readers find them, and what is left after failures of the disk."""

import contextlib
import json
import os
import resource
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.core.file_lock import is_locked
from src.core.prediction_log import LoggedColumn, Role, SegmentHeader
from src.serving.watch import segment_writer
from src.serving.watch.segment_writer import MAX_BYTES, MAX_SECONDS, SegmentSource, SegmentWriter, SegmentWriters

SOURCE = SegmentSource("iris", "3", Role.CHAMPION, (LoggedColumn(name="a", type="number"),), ("x", "y"), 0.5)


class Folder:
    """A folder of segments, a writer of them, and the time that it sees."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 1_800_000_000.25
        self.writer = SegmentWriter(path, lambda: self.now)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.path.iterdir())

    def segments(self) -> list[list[bytes]]:
        """The lines of the closed segments, without headers, oldest first."""
        return [path.read_bytes().split(b"\n")[1:-1] for path in sorted(self.path.glob("*.ndjson"))]

    @property
    def open_one(self) -> Path:
        (path,) = self.path.glob("*.open")
        return path


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "quality" / "segments")


@contextlib.contextmanager
def file_limit(size: int) -> Iterator[None]:
    """Files cannot grow beyond this size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_segment_is_open_and_locked_until_it_is_closed(folder: Folder) -> None:
    folder.writer.write(SOURCE, [b"1\n", b"2\n"])
    folder.writer.write(SOURCE, [b"3\n"])
    path = folder.open_one
    assert folder.names() == [path.name]
    assert path.name.endswith(".ndjson.open")
    assert path.name[14] == "7"  # a UUIDv7
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660 & ~umask
    assert is_locked(path)
    head, *lines = path.read_bytes().split(b"\n")
    assert lines == [b"1", b"2", b"3", b""]
    header = SegmentHeader.model_validate_json(head)
    assert (header.model, header.version, header.role, header.rate) == ("iris", "3", Role.CHAMPION, 0.5)
    assert (header.columns, header.classes) == ([LoggedColumn(name="a", type="number")], ["x", "y"])
    assert header.started.timestamp() == folder.now
    folder.writer.close()
    assert folder.names() == [path.name.removesuffix(".open")]
    assert folder.segments() == [[b"1", b"2", b"3"]]
    assert not is_locked(path.with_suffix(""))
    folder.writer.close()
    folder.writer.close_old()


def test_segment_is_closed_when_it_is_ten_seconds_old(folder: Folder) -> None:
    folder.writer.write(SOURCE, [b"1\n"])
    folder.now += 9.99
    folder.writer.close_old()
    folder.writer.write(SOURCE, [b"2\n"])
    assert folder.segments() == []
    folder.now += 0.01
    folder.writer.write(SOURCE, [b"3\n"])
    assert folder.segments() == [[b"1", b"2"]]
    folder.now += 10
    folder.writer.close_old()
    assert folder.segments() == [[b"1", b"2"], [b"3"]]


def test_clock_that_was_set_back_does_not_keep_a_segment_open(folder: Folder) -> None:
    folder.writer.write(SOURCE, [b"1\n"])
    folder.now -= 3600
    folder.writer.close_old()
    assert folder.segments() == [[b"1"]]


def test_segment_is_closed_when_it_is_larger_than_the_limit(folder: Folder) -> None:
    folder.writer.write(SOURCE, [b"1\n"])
    rest = MAX_BYTES - folder.open_one.stat().st_size
    folder.writer.write(SOURCE, [b"x" * (rest - 1) + b"\n"])
    assert folder.open_one.stat().st_size == MAX_BYTES
    folder.writer.write(SOURCE, [b"\n"])
    assert len(folder.segments()) == 1
    assert len(folder.names()) == 1
    folder.writer.write(SOURCE, [b"2\n"])
    folder.writer.close()
    assert folder.segments()[1] == [b"2"]


@pytest.mark.parametrize("change", [{"version": "4"}, {"role": Role.SHADOW}, {"rate": 1.0}, {"columns": ()}])
def test_another_source_has_another_segment(folder: Folder, change: dict[str, object]) -> None:
    folder.writer.write(SOURCE, [b"1\n"])
    folder.writer.write(SOURCE._replace(**change), [b"2\n"])  # type: ignore[arg-type]
    assert folder.segments() == [[b"1"]]
    assert len(folder.names()) == 2
    assert b"\n2\n" in folder.open_one.read_bytes()


def test_equal_source_has_the_same_segment(folder: Folder) -> None:
    folder.writer.write(SOURCE, [b"1\n"])
    folder.writer.write(SOURCE._replace(columns=(LoggedColumn(name="a", type="number"),)), [b"2\n"])
    folder.writer.close()
    assert folder.segments() == [[b"1", b"2"]]


def test_disk_that_is_full_in_the_middle_of_a_line_leaves_whole_lines(folder: Folder) -> None:
    folder.writer.write(SOURCE, [b"1\n"])
    size = folder.open_one.stat().st_size
    with file_limit(size + 3), pytest.raises(OSError, match="large"):
        folder.writer.write(SOURCE, [b"2222\n"])
    assert folder.segments() == [[b"1"]]
    (path,) = folder.path.iterdir()
    assert path.stat().st_size == size
    assert not is_locked(path)
    folder.writer.write(SOURCE, [b"3\n"])
    folder.writer.close()
    assert folder.segments() == [[b"1"], [b"3"]]


def test_disk_without_room_for_a_header_is_left_without_a_file(folder: Folder) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count
    with file_limit(10), pytest.raises(OSError, match="large"):
        folder.writer.write(SOURCE, [b"1\n"])
    assert folder.names() == []
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - as above
    folder.writer.write(SOURCE, [b"2\n"])
    assert len(folder.names()) == 1


def test_file_in_the_place_of_the_folder_is_an_error_until_it_is_gone(folder: Folder) -> None:
    folder.path.parent.mkdir()
    folder.path.touch()
    with pytest.raises(OSError, match="exists"):
        folder.writer.write(SOURCE, [b"1\n"])
    folder.path.unlink()
    folder.writer.write(SOURCE, [b"2\n"])
    folder.writer.close()
    assert folder.segments() == [[b"2"]]


def test_folder_that_was_deleted_is_made_anew(folder: Folder) -> None:
    folder.writer.write(SOURCE, [b"1\n"])
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count
    shutil.rmtree(folder.path)
    with pytest.raises(FileNotFoundError):
        folder.writer.close()
    assert len(os.listdir("/proc/self/fd")) == before - 1  # noqa: PTH208 - as above
    folder.writer.write(SOURCE, [json.dumps({"a": 1}).encode() + b"\n"])
    folder.writer.close()
    assert folder.segments() == [[b'{"a": 1}']]


@pytest.mark.parametrize(("name", "limit"), [("MAX_PENDING", 2), ("MAX_PENDING_BYTES", 300)])
def test_segments_that_nobody_takes_in_do_not_fill_the_disk(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, name: str, limit: int
) -> None:
    monkeypatch.setattr(segment_writer, name, limit)
    for _ in range(2):
        folder.writer.write(SOURCE, [b"1\n"])
        folder.writer.close()
    for _ in range(2):
        with pytest.raises(OSError, match="check that the quality service runs"):
            folder.writer.write(SOURCE, [b"2\n"])
    for path in folder.path.iterdir():
        path.unlink()
    folder.now += 10
    folder.writer.write(SOURCE, [b"3\n"])
    folder.writer.close()
    assert folder.segments() == [[b"3"]]


def test_each_version_and_role_has_one_open_segment(folder: Folder) -> None:
    writers = SegmentWriters(folder.path, lambda: folder.now)
    others = [SOURCE._replace(role=Role.CANARY), SOURCE._replace(version="4")]
    for _ in range(3):
        for source in (SOURCE, *others):
            writers.write(source, [f"{source.version} {source.role}\n".encode()])
    assert len(list(folder.path.glob("*.open"))) == 3
    assert writers.close() == []
    assert folder.segments() == [[b"3 champion"] * 3, [b"3 canary"] * 3, [b"4 champion"] * 3]


def test_old_segments_of_all_sources_are_closed(folder: Folder) -> None:
    writers = SegmentWriters(folder.path, lambda: folder.now)
    writers.write(SOURCE, [b"1\n"])
    folder.now += MAX_SECONDS / 2
    writers.write(SOURCE._replace(role=Role.CANARY), [b"2\n"])
    folder.now += MAX_SECONDS / 2
    assert writers.close_old() == []
    assert folder.segments() == [[b"1"]]
    folder.now += MAX_SECONDS / 2
    assert writers.close_old() == []
    assert folder.segments() == [[b"1"], [b"2"]]


def test_segments_that_cannot_be_closed_do_not_keep_the_others_open(folder: Folder) -> None:
    writers = SegmentWriters(folder.path, lambda: folder.now)
    writers.write(SOURCE, [b"1\n"])
    folder.open_one.unlink()
    writers.write(SOURCE._replace(role=Role.CANARY), [b"2\n"])
    assert len(writers.close()) == 1
    assert folder.segments() == [[b"2"]]
