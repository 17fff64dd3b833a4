"""`make local` as far as it comes where a port is taken."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from src.services.local.processes import REPOSITORY


def start(folder: Path, checkout: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    """What a start tells that finds its port taken."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        environment = {**os.environ, "DATA_DIR": str(folder / "data"), "INFERENCE_PORT": port}
        return subprocess.run(
            [sys.executable, "-m", "src.services.local.run_local"],
            cwd=checkout,
            env={**environment, "ENV_FILE": str(folder / "env")},
            capture_output=True,
            text=True,
            check=False,
        )


def test_misspelt_variable_is_a_warning_and_does_not_stop_the_start(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("MODEL_POL_SECONDS=2\nmodel_name=iris\n")
    ended = start(tmp_path)
    assert ended.returncode == 1
    warning, error = ended.stderr.splitlines()
    assert warning.startswith("warning: MODEL_POL_SECONDS in ")
    assert "did you mean MODEL_POLL_SECONDS?" in warning
    assert "(INFERENCE_PORT) is taken" in error


def test_checkout_without_the_example_starts_as_well(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    (tmp_path / "env").write_text("MODEL_POL_SECONDS=2\n")
    (error,) = start(tmp_path, tmp_path).stderr.splitlines()
    assert "(INFERENCE_PORT) is taken" in error
