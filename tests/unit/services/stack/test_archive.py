import errno
import io
import json
import os
import tarfile
import time
from collections import namedtuple
from pathlib import Path

import pytest

from src.services.stack import archive_writer
from src.services.stack.archive_reader import Archive
from src.services.stack.archive_writer import new_archive
from src.services.stack.errors import StackError
from src.services.stack.volume_files import copy_files
from tests.support.backup_files import DUMP, MANIFEST, backup, special, tar_of


def refused(path: Path) -> str:
    with pytest.raises(StackError) as caught:
        Archive(path).check()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_whole_backup_gives_back_its_manifest_and_its_members(tmp_path: Path) -> None:
    archive = Archive(backup(tmp_path))
    found = archive.check()
    assert (found.created, found.images, found.aliases) == (MANIFEST.created, MANIFEST.images, MANIFEST.aliases)
    assert found.champions() == "iris version 3"
    with archive.uncompressed("mysql.sql.gz") as dump:
        assert dump.read() == DUMP
    with archive.uncompressed("data.tar.gz") as files, tarfile.open(fileobj=files, mode="r|") as tar:
        assert tar.getnames() == ["./retrain/new/one.json"]


def test_backup_is_a_tar_file_that_its_owner_alone_reads(tmp_path: Path) -> None:
    path = backup(tmp_path / "backups")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    with tarfile.open(path) as tar:
        assert tar.getnames() == ["mysql.sql.gz", "data.tar.gz", "mlflow.tar.gz", "zenml.tar.gz", "manifest.json"]


def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    raw = backup(tmp_path).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        inside = [
            position for member in tar for position in range(member.offset_data, member.offset_data + member.size)
        ]
    damaged = tmp_path / "damaged.tar"
    for position in inside[::7]:
        damaged.write_bytes(raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :])
        assert "restore another" in refused(damaged), position


def test_cut_backup_is_refused_wherever_it_was_cut(tmp_path: Path) -> None:
    raw = backup(tmp_path).read_bytes()
    cut = tmp_path / "cut.tar"
    for size in range(0, len(raw) - 2 * tarfile.BLOCKSIZE, 300):
        cut.write_bytes(raw[:size])
        assert "not a whole backup" in refused(cut) or "manifest is damaged" in refused(cut), size


@pytest.mark.parametrize("member", ["data.tar.gz", "mlflow.tar.gz", "zenml.tar.gz", "mysql.sql.gz"])
def test_backup_without_a_member_is_refused(tmp_path: Path, member: str) -> None:
    assert "lacks a member" in refused(backup(tmp_path, without=member))


def test_dump_that_mysqldump_did_not_finish_is_refused(tmp_path: Path) -> None:
    assert "the database dump is not complete" in refused(backup(tmp_path, mysql=DUMP[:22]))


@pytest.mark.parametrize(
    "member",
    [
        "../outside",
        "/etc/passwd",
        "a/../../outside",
        special("link", tarfile.SYMTYPE, "/etc"),
        special("a/link", tarfile.SYMTYPE, "../../etc"),
        special("link", tarfile.LNKTYPE, "../outside"),
        special("device", tarfile.CHRTYPE),
        special("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda member: getattr(member, "name", member),
)
def test_file_that_would_leave_its_volume_is_refused(tmp_path: Path, member: tarfile.TarInfo | str) -> None:
    assert "does not belong in a volume" in refused(backup(tmp_path, data=tar_of(member)))


def test_volume_whose_files_are_cut_is_refused(tmp_path: Path) -> None:
    assert "not a whole backup" in refused(backup(tmp_path, data=tar_of("one", "two")[:1100]))


def test_members_that_are_not_those_of_the_manifest_are_refused(tmp_path: Path) -> None:
    raw = backup(tmp_path)
    with tarfile.open(raw, "a") as tar:
        tar.addfile(tarfile.TarInfo("data.tar.gz"))
    assert "members are not those" in refused(raw)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"format": 2}, "has format 2, this checkout reads 1"),
        ({"format": 1}, "manifest is damaged"),
        ([], "manifest is damaged"),
    ],
)
def test_manifest_of_another_format_is_refused(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "other.tar"
    raw = json.dumps(content).encode()
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("manifest.json")
        info.size = len(raw)
        tar.addfile(info, io.BytesIO(raw))
    assert message in refused(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    assert "cannot read" in refused(tmp_path / "absent.tar")
    assert "cannot read" in refused(tmp_path)
    (tmp_path / "text").write_text("words " * 1000)
    assert "not a whole backup" in refused(tmp_path / "text")


# -- writing --------------------------------------------------------------------------------------------


def test_backup_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="stop"), new_archive(tmp_path) as new, new.compressed("data.tar.gz"):
        raise StackError("stop")
    assert list(tmp_path.iterdir()) == []


def test_backup_never_takes_the_last_space_of_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(archive_writer.shutil, "disk_usage", lambda _: usage(200_000_000))
    with pytest.raises(StackError, match="has only 200 MB left"):
        backup(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_backup_has_left_is_deleted_a_day_later(tmp_path: Path) -> None:
    old, new = tmp_path / "old.partial", tmp_path / "new.partial"
    for file in (old, new):
        file.touch()
    os.utime(old, (time.time() - 90_000,) * 2)
    backup(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.tar", "new.partial"]


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match=r"cannot write to .*--folder"):
        backup(tmp_path / "file")


def test_error_while_writing_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archive_writer.os, "fsync", full)
    with pytest.raises(StackError, match=r"cannot write to .* \(No space left on device\).*--folder"):
        backup(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_error_elsewhere_is_not_one_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), new_archive(tmp_path) as new, new.compressed("data.tar.gz"):
        (tmp_path / "absent").read_bytes()
    assert list(tmp_path.iterdir()) == []


# -- a volume's files -----------------------------------------------------------------------------------


def copied(source: bytes, *without: str) -> tuple[tarfile.TarFile, list[str]]:
    target, left_out = io.BytesIO(), list[str]()
    copy_files(io.BytesIO(source), target, left_out.append, without)
    target.seek(0)
    return tarfile.open(fileobj=target), left_out


def test_files_keep_their_owner_mode_time_and_content() -> None:
    info = tarfile.TarInfo("./folder/name")
    info.uid, info.gid, info.mode, info.mtime = 10001, 10002, 0o640, 1_700_000_000
    copy, _ = copied(tar_of(info, special("./link", tarfile.SYMTYPE, "folder/name")))
    found, link = copy.getmembers()
    assert (found.uid, found.gid, found.mode, found.mtime) == (10001, 10002, 0o640, 1_700_000_000)
    assert copy.extractfile(found).read() == b"words"  # type: ignore[union-attr]
    assert (link.name, link.linkname) == ("./link", "folder/name")


def test_file_at_an_excluded_path_and_special_files_are_left_out_and_named() -> None:
    others = ["./credentials.yaml.csv", "./a/credentials.yaml"]
    copy, left_out = copied(
        tar_of("./credentials.yaml", *others, special("./pipe", tarfile.FIFOTYPE)), "credentials.yaml"
    )
    assert copy.getnames() == others
    assert left_out == ["./credentials.yaml", "./pipe"]


def test_stream_that_ends_early_is_refused() -> None:
    with pytest.raises(StackError, match="a file changed while it was copied"):
        copied(tar_of("one", "two")[:1100])
