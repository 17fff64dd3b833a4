"""`make clean-state` in folders of its own; what it must refuse is never where something would be lost."""

import os
import subprocess
from pathlib import Path

import pytest

from src.core.errors import ConfigError
from src.services.local.clean_state import check_disposable
from src.services.local.processes import REPOSITORY

pytestmark = pytest.mark.slow


def make_clean_state(folder: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """The target alone, with the environment that is there, and ``folder`` as home."""
    environment = {**os.environ, "HOME": str(folder), "ENV_FILE": os.devnull, **changes}
    environment.pop("MAKEFLAGS", None)
    return subprocess.run(
        ["make", "--no-print-directory", "--old-file=.venv/.ready", "clean-state"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A data folder as the loop leaves it, and a folder that a link in it leads to."""
    data = tmp_path / "data"
    (data / "retrain" / "new").mkdir(parents=True)
    (data / "retrain" / "new" / "request.json").touch()
    for name in ("iris_preprocessed.csv", "iris_preprocessed.csv.sha256", ".iris_preprocessed.csv.7.tmp", ".hidden"):
        (data / name).touch()
    for name in ("iris_invalid_rows.csv", ".iris_invalid_rows.csv.7.tmp"):
        (data / name).touch()
    (data / "quality" / "segments").mkdir(parents=True)
    (data / "quality" / "segments" / "rows.ndjson").touch()
    (data / "audit").mkdir()
    (data / "audit" / "audit.ndjson").touch()
    (data / "labels").mkdir()
    (data / "labels" / "truth.csv").write_text("delivered")
    (data / "incoming").mkdir()
    (data / "incoming" / "rows.csv").write_text("delivered")
    (data / "README.md").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").touch()
    (tmp_path / "elsewhere" / "wine_preprocessed.csv").touch()
    (data / "local").symlink_to(tmp_path / "elsewhere")
    (data / "wine.csv").write_text("delivered")
    return data


def test_clean_state_empties_the_data_folder_of_the_environment(state: Path, tmp_path: Path) -> None:
    answer = make_clean_state(tmp_path, DATA_DIR=str(state))
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == (
        f"{state} holds no state any more; kept, because the loop did not write it: .hidden, wine.csv\n"
    )
    assert sorted(path.name for path in state.iterdir()) == [".hidden", "README.md", "incoming", "labels", "wine.csv"]
    assert (state / "labels" / "truth.csv").exists()
    assert (state / "incoming" / "rows.csv").read_text() == "delivered"
    assert (tmp_path / "elsewhere" / "file").exists()
    assert make_clean_state(tmp_path, DATA_DIR=str(state)).returncode == 0, "once more is no error"


def test_clean_state_empties_the_data_folder_of_the_env_file(state: Path, tmp_path: Path) -> None:
    (tmp_path / "env").write_text(f"DATA_DIR={state}\n")
    answer = make_clean_state(tmp_path, DATA_DIR="", ENV_FILE=str(tmp_path / "env"))
    assert answer.returncode == 0, answer.stderr
    assert not (state / "retrain").exists()


@pytest.mark.parametrize(
    ("folder", "reason"),
    [(".", "nothing was deleted"), ("elsewhere", "has no retrain folder"), ("data/.hidden", "Not a directory")],
)
def test_clean_state_refuses_what_is_not_a_data_folder(state: Path, tmp_path: Path, folder: str, reason: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    answer = make_clean_state(tmp_path, DATA_DIR=str(tmp_path / folder))
    assert answer.returncode != 0
    assert reason in answer.stderr
    assert "Traceback" not in answer.stderr
    assert sorted(tmp_path.rglob("*")) == before
    assert state in before


@pytest.mark.parametrize("folder", ["/", "/home", "/home/me", "/home/me/code", "/home/me/code/repo", "/home/me/x/.."])
def test_check_disposable_refuses_root_home_repository_and_what_holds_them(folder: str) -> None:
    with pytest.raises(ConfigError, match="nothing was deleted; set DATA_DIR"):
        check_disposable(Path(folder), home=Path("/home/me"), repository=Path("/home/me/code/repo"))


def test_check_disposable_passes_the_default_folder_and_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "data-file").mkdir()
    (tmp_path / "data-file" / "README.md").touch()
    for name in ("data-file", "missing"):
        check_disposable(tmp_path / name, home=tmp_path, repository=tmp_path)
