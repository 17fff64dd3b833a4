"""``make local`` as a person runs it: start, use, Ctrl-C, start again."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from src.services.local.processes import REPOSITORY
from tests.support.loop import Loop
from tests.support.running import end, wait_until

pytestmark = pytest.mark.e2e


class MakeLocal:
    """One ``make local`` in a process group of its own, as a terminal gives it."""

    def __init__(self, loop: Loop, log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                ["make", "local"],
                cwd=REPOSITORY,
                env={**os.environ, **loop.environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for_line(self, text: str, *, seconds: float = 180) -> None:
        def seen() -> bool:
            assert self.process.poll() is None, self.output()
            return text in self.output()

        wait_until(f"make local says {text!r}", seen, seconds=seconds)

    def ctrl_c(self) -> int:
        """What a terminal does on Ctrl-C; returns the exit code, and fails if it takes more than 10 s."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(10)


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    loop = Loop(tmp_path)
    yield loop
    for process in loop.processes():
        process.kill()


def test_make_local_closes_the_loop_and_keeps_its_state(loop: Loop, tmp_path: Path) -> None:
    first = MakeLocal(loop, tmp_path / "first.log")
    try:
        first.wait_for_line("ready: iris is served")
        assert loop.predict()["model"] == {"name": "iris", "version": "1"}
        with loop.constant_load() as answers:
            retrained = loop.wait_for_end(loop.request_retrain())
            loop.wait_for_version("2")
        assert retrained["outcome"] == "promoted"
        assert retrained["model_version"] == "2"
        assert set(answers) <= {"200 v1", "200 v2"}, answers
        assert f"localhost:{loop.inference_port}/predict" in first.output()
        for name in ("mlflow", "inference", "monitor"):
            assert any(line.lstrip().startswith(f"{name} ") for line in first.output().splitlines()), name
        for port in (loop.inference_port, loop.monitor_port):
            assert "# HELP" in httpx.get(f"http://127.0.0.1:{port}/metrics").text
        first.ctrl_c()
        assert loop.processes() == []
    finally:
        end(first.process)

    second = MakeLocal(loop, tmp_path / "second.log")
    try:
        wait_until("the kept model is served", loop.is_ready)
        assert loop.predict()["model"]["version"] == "2"
        second.wait_for_line("ready: iris is served")
        assert loop.trainers() == []
        second.ctrl_c()
        assert loop.processes() == []
    finally:
        end(second.process)


def test_make_local_stops_a_training_too_and_resumes_it(loop: Loop, tmp_path: Path) -> None:
    first = MakeLocal(loop, tmp_path / "first.log")
    try:
        wait_until("the first training runs", loop.trainers, seconds=120)
        first.ctrl_c()
        assert loop.processes() == []
    finally:
        end(first.process)
    second = MakeLocal(loop, tmp_path / "second.log")
    try:
        second.wait_for_line("ready: iris is served")
        assert loop.predict()["model"]["version"] == "1"
        records = httpx.get(f"{loop.url}/retrain").json()
        second.ctrl_c()
    finally:
        end(second.process)
    assert [record["state"] for record in records["requests"]] == ["promoted"]


def test_make_local_ends_as_a_whole_when_one_process_dies(loop: Loop, tmp_path: Path) -> None:
    local = MakeLocal(loop, tmp_path / "local.log")
    try:
        wait_until("inference runs", lambda: _by_module(loop, "run_inference"))
        local.wait_for_line("starting MLflow")
        _by_module(loop, "run_inference")[0].kill()
        assert local.process.wait(20) != 0
        assert loop.processes() == []
    finally:
        end(local.process)


def _by_module(loop: Loop, module: str) -> list[psutil.Process]:
    return [process for process in loop.processes() if any(part.endswith(module) for part in process.cmdline())]
