"""Programs that tests need and that a script of this folder finds or, in CI, installs."""

import os
import subprocess

import pytest

from src.services.local.processes import REPOSITORY


def program_from(script: str, *, seconds: float = 280) -> str:
    """The path that a script prints; without one the test is skipped, and fails where CI must have one."""
    command = [str(REPOSITORY / "tests/support" / script)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    if found.returncode:
        assert not os.environ.get("CI"), found.stderr
        pytest.skip(f"needs {' '.join(found.stderr.strip().splitlines()[-1:])}")
    return found.stdout.strip()
