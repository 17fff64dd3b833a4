"""Prometheus and the tools of Prometheus and Alertmanager, as programs of this machine."""

import os
import subprocess

import pytest

from src.services.local.processes import REPOSITORY

CONFIG = REPOSITORY / "config"


def tool_path(name: str) -> str:
    """The path of ``prometheus``, ``promtool`` or ``amtool``; without it the test is skipped, and fails in CI."""
    script = REPOSITORY / "tests/support/prometheus_tool.sh"
    found = subprocess.run([str(script), name], capture_output=True, text=True, timeout=240, check=False)
    if found.returncode:
        assert not os.environ.get("CI"), found.stderr
        pytest.skip(f"needs {' '.join(found.stderr.strip().splitlines()[-1:])}")
    return found.stdout.strip()


def run_tool(tool: str, *arguments: str, given: str | None = None) -> str:
    """The output of a tool that must succeed, run in ``config/``."""
    done = subprocess.run(
        [tool_path(tool), *arguments],
        cwd=CONFIG,
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
