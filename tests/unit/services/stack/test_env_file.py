import os
import resource
import stat
from pathlib import Path

import pytest

from src.services.stack.env_file import EnvFile
from src.services.stack.errors import StackError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_update_makes_a_file_that_only_its_owner_may_read(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    EnvFile(path).update({"A": "1", "B": "2"})
    assert path.read_text().splitlines()[1:] == ["A=1", "B=2"]
    assert path.read_text().startswith("# Made by setup_zenml_api_key.py")
    assert mode(path) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_update_tightens_the_mode_and_keeps_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"\xc3\xa9=1\r\nA=\r\n# last")
    path.chmod(0o644)
    EnvFile(path).update({})
    assert (path.read_bytes(), mode(path)) == (b"\xc3\xa9=1\r\nA=\r\n# last", 0o600)
    EnvFile(path).update({"A": "1"})
    assert path.read_bytes() == b"\xc3\xa9=1\r\nA=1\r\n# last"


def test_update_keeps_what_was_changed_since_the_last_read(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1\n")
    file = EnvFile(path)
    assert file.read() == "A=1\n"
    path.write_text("A=1\nMEANWHILE=1\n")
    file.update({"B": "2"})
    assert path.read_text() == "A=1\nMEANWHILE=1\nB=2\n"


def test_update_writes_behind_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "stack.env", tmp_path / ".env"
    target.write_text("A=1\n")
    link.symlink_to(target)
    EnvFile(link).update({"B": "2"})
    assert link.is_symlink()
    assert target.read_text() == "A=1\nB=2\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_update_as_root_leaves_the_file_to_its_owner(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1\n")
    os.chown(path, 12345, 54321)
    EnvFile(path).update({})
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)
    path.unlink()
    os.chown(tmp_path, 12345, 54321)
    EnvFile(path).update({})
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_create_as_root_gives_the_file_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 54321)
    EnvFile(tmp_path / ".env").create("A=1\n")
    found = (tmp_path / ".env").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (12345, 54321, 0o600)


def test_read_knows_a_missing_file(tmp_path: Path) -> None:
    assert EnvFile(tmp_path / ".env").read() is None


def test_read_says_that_it_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    with pytest.raises(StackError, match=r"/\.env is a directory and must be a file; remove it: rmdir \.env"):
        EnvFile(tmp_path / ".env").read()


def test_read_says_which_line_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A=1\nB=se\xe7ret\n")
    with pytest.raises(StackError, match=r"/\.env is not UTF-8 \(line 2\); save it as UTF-8") as caught:
        EnvFile(tmp_path / ".env").read()
    assert "ret" not in str(caught.value)


def test_read_says_why_it_cannot(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StackError, match=r"cannot read .*/file/\.env \(Not a directory\)"):
        EnvFile(tmp_path / "file" / ".env").read()


def test_update_says_that_the_folder_takes_nothing() -> None:
    with pytest.raises(StackError, match=r"cannot write /proc/self/task/\.env \(.*make it and its folder writable"):
        EnvFile(Path("/proc/self/task/.env")).update({})


def test_update_leaves_a_read_only_file_alone(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1\n")
    path.chmod(0o400)
    with pytest.raises(StackError, match=r"cannot write .*/\.env \(it is read-only\)"):
        EnvFile(path).update({"B": "2"})
    assert (path.read_text(), mode(path)) == ("A=1\n", 0o400)


def test_update_that_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(StackError, match=r"cannot write .*/\.env \(File too large\)"):
            EnvFile(path).update({"B": "2" * 1000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "A=1\n"
    assert list(tmp_path.iterdir()) == [path]
