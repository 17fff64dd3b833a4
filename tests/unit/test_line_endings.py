"""A checkout with Git for Windows' default has the same bytes: containers read its scripts and configuration."""

import filecmp
import subprocess
from pathlib import Path

from src.services.local.processes import REPOSITORY


def test_files_are_the_same_where_git_converts_line_endings(tmp_path: Path) -> None:
    files = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for convert in ("true", "false"):
        command = [
            "git",
            "-c",
            f"core.autocrlf={convert}",
            "checkout-index",
            "--all",
            f"--prefix={tmp_path}/{convert}/",
        ]
        subprocess.run(command, cwd=REPOSITORY, check=True)
    names = files.stdout.splitlines()
    assert "config/alertmanager/start.sh" in names
    same, *different = filecmp.cmpfiles(tmp_path / "true", tmp_path / "false", names, shallow=False)
    assert (same, different) == (names, [[], []])
