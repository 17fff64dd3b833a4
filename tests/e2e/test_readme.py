"""Every command in the README that needs no Docker is run, as written, against a running loop."""

import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from src.services.local.processes import REPOSITORY
from tests.support.loop import Loop
from tests.support.readme import BLOCKS, LOOP_SCRIPTS, TEXT, on_ports, title

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    loop = Loop(tmp_path_factory.mktemp("readme"))
    with loop.started():
        yield loop


@pytest.mark.parametrize("script", LOOP_SCRIPTS, ids=title)
def test_readme_command_works_as_written(loop: Loop, script: str) -> None:
    ports = {"8000": loop.inference_port, "5000": loop.mlflow_port, "8001": loop.monitor_port}
    here = on_ports(script, ports).replace("data-file/", f"{loop.folder}/data/")
    environment = {**os.environ, **loop.environment, "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{loop.mlflow_port}"}
    answer = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", here],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert (answer.stdout + answer.stderr).strip(), f"printed nothing: {here}"


def test_readme_first_screen_gives_the_commands_that_run_and_test_it() -> None:
    assert BLOCKS[:3] == ["make up\n", "make local\n", "make test\nmake e2e\n"]


def test_readme_names_only_files_that_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in link]
    assert links
    assert [link for link in links if not (REPOSITORY / link).exists()] == []
