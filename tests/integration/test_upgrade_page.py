"""docs/upgrade.md: its git commands take a newer version into a clone, and it quotes the messages as they are."""

import gzip
import os
import subprocess
from pathlib import Path

import pytest

from src.core.errors import ConfigError
from src.core.misspelt import misspelt
from src.core.pipeline_config import load_pipeline_config
from tests.support.configuration import CONFIG_FILE
from tests.support.upgrade_page import (
    BLOCKS,
    CONVERT,
    COPY,
    GO_BACK,
    KEEP_YOURS,
    MERGE,
    NAME_UPSTREAM,
    RUN_ELSEWHERE,
    TEXT,
)
from tests.unit.services.stack.fakes import FakeDocker

pytestmark = pytest.mark.integration

COPIES = [f"{volume}.tar.gz" for volume in ("mysql", "mlflow", "zenml", "data", "grafana")]
CONFIG, ENGINE = "config/pipeline.yaml", "src/training/gate.py"


class Repository:
    """A git repository in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = {
            f"GIT_{who}_{what}": "team@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        self.environment = os.environ | names | {"GIT_CONFIG_GLOBAL": os.devnull}

    def run(self, script: str, *, check: bool = True) -> str:
        command = ["bash", "-euo", "pipefail", "-c", script]
        ended = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert (ended.returncode == 0) == check, ended.stdout + ended.stderr
        return ended.stdout

    def commit(self, **files: str) -> None:
        for name, text in files.items():
            file = self.folder / {"config": CONFIG, "engine": ENGINE}[name]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        self.run("git add . && git commit -qm change")

    def read(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")


def test_git_commands_keep_the_configuration_and_take_the_engine(tmp_path: Path) -> None:
    template = Repository(tmp_path / "template")
    template.folder.mkdir()
    template.run("git init -q -b main")
    template.commit(config="seed: 1\n", engine="old\n")
    template.run(f"git clone -q . '{tmp_path / 'team'}'")
    team = Repository(tmp_path / "team")
    team.commit(config="seed: 7\n")
    template.commit(config="seed: 2\n", engine="new\n")
    address = "https://github.com/OWNER/REPOSITORY.git"
    assert address in NAME_UPSTREAM
    team.run(NAME_UPSTREAM.replace(address, str(template.folder)))
    assert f"Merge conflict in {CONFIG}" in team.run(MERGE, check=False)
    team.run(KEEP_YOURS)
    assert (team.read(CONFIG), team.read(ENGINE)) == ("seed: 7\n", "new\n")
    assert team.run("git status --porcelain") == ""
    assert team.run("git log --oneline").count("\n") == 4


def test_every_command_is_run_by_a_test() -> None:
    run = {NAME_UPSTREAM, MERGE, KEEP_YOURS, COPY, CONVERT, GO_BACK, *RUN_ELSEWHERE}
    assert set(BLOCKS) == run


def with_docker(docker: FakeDocker, block: str) -> subprocess.CompletedProcess[str]:
    """The block as it is pasted into a shell, with this docker, in a checkout without other versions."""
    script = block.replace("git checkout 4ee38d3", "true")
    path = f"{docker.folder}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", script],
        cwd=docker.folder.parent,
        env=docker.environment | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def docker(tmp_path: Path) -> FakeDocker:
    return FakeDocker(tmp_path / "bin", {})


def test_copy_is_for_the_owner_alone_and_no_log_holds_it(docker: FakeDocker) -> None:
    docker.answers("run --rm", "content")
    docker.answers("", "")
    done = with_docker(docker, COPY)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "The copy is complete.")
    copies = docker.folder.parent / "backups/before"
    assert {file.name: file.read_text() for file in copies.iterdir()} == dict.fromkeys(COPIES, "content")
    assert {oct(file.stat().st_mode & 0o777) for file in copies.iterdir()} == {"0o600"}
    assert [oct(folder.stat().st_mode & 0o777) for folder in (copies, copies.parent)] == ["0o700", "0o700"]
    runs = [call for call in docker.said() if call.startswith("run ")]
    assert len(runs) == len(COPIES)
    assert all("--log-driver none" in call for call in runs)


@pytest.mark.parametrize("words", ["mlops-loop_mlflow:/volume", "volume inspect mlops-loop_mlflow"])
def test_copy_stops_at_the_first_failure(docker: FakeDocker, words: str) -> None:
    docker.answers(words, errors="no space left", code=2)
    docker.answers("", "content")
    done = with_docker(docker, COPY)
    assert done.returncode != 0
    assert "The copy is complete." not in done.stdout
    assert words in docker.said()[-1]


def test_way_back_removes_nothing_without_every_copy(docker: FakeDocker) -> None:
    docker.answers("", "content")
    for name in COPIES:
        assert with_docker(docker, GO_BACK).returncode != 0
        write_copy(docker, name)
    whole = gzip.compress(b"content")
    (docker.folder.parent / "backups/before/data.tar.gz").write_bytes(whole[:-5])
    assert with_docker(docker, GO_BACK).returncode != 0
    assert docker.said() == []


def test_way_back_removes_what_it_restores_and_stops_at_the_first_failure(docker: FakeDocker) -> None:
    docker.answers("mlops-loop_zenml:/volume", errors="no space left", code=2)
    docker.answers("", "")
    for name in COPIES:
        write_copy(docker, name)
    assert with_docker(docker, GO_BACK).returncode != 0
    down, removed, create, *restored = docker.said()
    assert (down, create) == ("compose down --remove-orphans", "compose create --build")
    copied = [f"mlops-loop_{name.partition('.')[0]}" for name in COPIES]
    assert removed.split() == ["volume", "rm", "--force", *copied, "mlops-loop_model-cache"]
    assert [call.split("-v ")[1].split(":")[0] for call in restored] == copied[:3]


def write_copy(docker: FakeDocker, name: str) -> None:
    folder = docker.folder.parent / "backups/before"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(gzip.compress(b"content"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "model:",
            "model:\n  n_estimators: 5",
            "unknown key 'model.n_estimators'; write 'n_estimators' under 'model.params'",
        ),
        (
            "metric: f1_macro",
            "metric: rmse",
            "'rmse' is now written 'neg_root_mean_squared_error', and greater is better",
        ),
    ],
)
def test_messages_of_the_configuration_are_quoted(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(CONFIG_FILE.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_pipeline_config(file)
    assert message in str(caught.value)
    assert f"`{message}`" in TEXT


def test_message_of_a_removed_variable_is_quoted() -> None:
    (message,) = misspelt(["ALERTMANAGER_PORT"], "")
    assert f"`{message.split(':')[0]}`" in TEXT
