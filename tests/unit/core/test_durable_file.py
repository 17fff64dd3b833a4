"""Durable writes, interrupted at every step."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.core.durable_file import explaining_unusable, write_durably
from src.core.errors import SpoolFullError, SpoolUnavailableError
from tests.support.faults import Fault, Killed, bad_disk, full_disk

STEPS = range(5)  # open, fsync, rename, then open and fsync of the folder


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    return tmp_path / "a.tmp"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "a"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_has_all_pieces_and_its_mode_and_no_temporary_is_left(temporary: Path, target: Path) -> None:
    mask = os.umask(0)
    try:
        write_durably(temporary, target, iter([b"one\n", b"", b"two\n"]))
    finally:
        os.umask(mask)
    assert target.read_bytes() == b"one\ntwo\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o660
    assert names(target.parent) == ["a"]


@pytest.mark.parametrize("step", [0, 1, 2, 3])  # open, fsync, rename, fsync of the folder
def test_full_disk_leaves_no_new_file(temporary: Path, target: Path, step: int) -> None:
    with full_disk(step).injected(), pytest.raises(SpoolFullError, match="free some space"):
        write_durably(temporary, target, [b"new"])
    assert names(target.parent) == []


@pytest.mark.parametrize("step", STEPS)
def test_bad_disk_leaves_no_new_file(temporary: Path, target: Path, step: int) -> None:
    with bad_disk(step).injected(), pytest.raises(OSError, match="Input/output error"):
        write_durably(temporary, target, [b"new"])
    assert names(target.parent) == []


@pytest.mark.parametrize("step", STEPS)
def test_bad_disk_keeps_a_file_that_is_replaced(temporary: Path, target: Path, step: int) -> None:
    target.write_bytes(b"old")
    with bad_disk(step).injected(), pytest.raises(OSError, match="Input/output error"):
        write_durably(temporary, target, [b"new"], replaces=True)
    assert names(target.parent) == ["a"]
    assert target.read_bytes() == (b"old" if step < 3 else b"new")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_process_leaves_the_whole_file_or_none(temporary: Path, target: Path, step: int, when: str) -> None:
    with Fault(step, when).injected(), pytest.raises(Killed):
        write_durably(temporary, target, [b"new"])
    renamed = step > 2 or (step == 2 and when == "after")
    assert target.exists() == renamed
    assert not renamed or target.read_bytes() == b"new"


def test_content_is_durable_before_its_name_and_the_name_before_the_return(
    temporary: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        if not is_folder:
            assert temporary.read_bytes() == b"new"
        seen.append(("folder" if is_folder else "file", target.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    write_durably(temporary, target, [b"new"])
    assert seen == [("file", False), ("folder", True)]


def test_pieces_that_fail_leave_nothing(temporary: Path, target: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"one"
        raise KeyError

    with pytest.raises(KeyError):
        write_durably(temporary, target, pieces())
    assert names(target.parent) == []


def test_link_in_place_of_the_temporary_file_is_not_followed(temporary: Path, target: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"kept")
    temporary.symlink_to(other)
    with pytest.raises(FileExistsError):
        write_durably(temporary, target, [b"new"])
    assert other.read_bytes() == b"kept"


def test_folder_that_fails_is_explained() -> None:
    why = r"the labels cannot be used \(Is a directory\).*DATA_DIR is there"
    with pytest.raises(SpoolUnavailableError, match=why), explaining_unusable("the labels"):
        Path("/").write_bytes(b"")
