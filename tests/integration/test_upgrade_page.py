"""docs/upgrade.md: its git commands take a newer version into a clone, and it quotes the messages as they are."""

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

pytestmark = pytest.mark.integration

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
