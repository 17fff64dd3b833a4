"""Every command in the README that needs no Docker is run, as written, against a running loop."""

import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from src.services.local.preflight import make_state_folders
from src.services.local.processes import REPOSITORY, loop_processes, preprocess_process
from tests.support.loop import Loop
from tests.support.readme import BLOCKS, LOOP_SCRIPTS, TEXT, on_ports, title
from tests.support.running import running, wait_until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    folder = tmp_path_factory.mktemp("readme")
    loop = Loop(folder)
    settings = loop.settings()
    make_state_folders(settings)
    mlflow, inference, monitor = loop_processes(settings)
    preprocess = preprocess_process(settings)
    subprocess.run(preprocess.command, cwd=REPOSITORY, env={**os.environ, **preprocess.environment}, check=True)
    with (
        running(mlflow, folder / "mlflow.log"),
        running(inference, folder / "inference.log", **loop.environment),
        running(monitor, folder / "monitor.log", **loop.environment),
    ):
        wait_until("inference answers", lambda: loop.is_answering(f"{loop.url}/health"))
        wait_until("MLflow answers", lambda: loop.is_answering(f"http://127.0.0.1:{loop.mlflow_port}/health"))
        assert loop.wait_for_end(loop.request_retrain())["state"] == "promoted"
        wait_until("a model is served", loop.is_ready)
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
