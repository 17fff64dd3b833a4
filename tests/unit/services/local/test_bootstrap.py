import os
import subprocess
import sys
from pathlib import Path

import pytest

from src.services.local import bootstrap


@pytest.mark.parametrize("version", [(3, 6), (3, 10), (3, 15), (4, 0)])
def test_check_python_refuses_what_the_lock_does_not_cover(version: tuple[int, int]) -> None:
    with pytest.raises(bootstrap.SetupError, match=r"needs Python 3\.11 to 3\.14, and /usr/bin/python is"):
        bootstrap.check_python(version, "/usr/bin/python")


@pytest.mark.parametrize("version", [(3, 11), (3, 14)])
def test_check_python_takes_what_the_lock_covers(version: tuple[int, int]) -> None:
    bootstrap.check_python(version, "/usr/bin/python")


def test_check_python_covers_what_pyproject_says() -> None:
    oldest, newest = bootstrap.OLDEST, bootstrap.NEWEST
    text = (bootstrap.REPOSITORY / "pyproject.toml").read_text()
    assert f'requires-python = ">={oldest[0]}.{oldest[1]},<{newest[0]}.{newest[1] + 1}"' in text


def test_check_writable_leaves_nothing_behind(tmp_path: Path) -> None:
    bootstrap.check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_check_writable_names_the_folder_and_the_reason() -> None:
    with pytest.raises(bootstrap.SetupError, match=r"cannot write to /proc/self/task .*make it writable"):
        bootstrap.check_writable(Path("/proc/self/task"))


def test_run_says_what_failed_and_what_to_do() -> None:
    with pytest.raises(bootstrap.SetupError, match="counting failed; count again"):
        bootstrap.run("counting", [sys.executable, "-c", "raise SystemExit(3)"], "count again")


def test_main_says_one_line_and_fails_without_a_traceback(tmp_path: Path) -> None:
    script = (bootstrap.REPOSITORY / "src/services/local/bootstrap.py").read_text()
    copy = tmp_path / "a/b/c/d/bootstrap.py"
    copy.parent.mkdir(parents=True)
    copy.write_text(
        script.replace("OLDEST = (3, 11)", "OLDEST = (3, 99)").replace("NEWEST = (3, 14)", "NEWEST = (3, 99)")
    )
    answer = subprocess.run(
        [sys.executable, copy], capture_output=True, text=True, check=False, env={**os.environ, "PYTHONWARNINGS": ""}
    )
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert answer.stderr.startswith("error: this needs Python 3.99")
    assert answer.stderr.count("\n") == 1
