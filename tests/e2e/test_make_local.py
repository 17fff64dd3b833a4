"""``make local`` as a person runs it: start, use, Ctrl-C, start again."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
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
        for name in ("mlflow", "inference", "monitor", "quality"):
            assert any(line.lstrip().startswith(f"{name} ") for line in first.output().splitlines()), name
        for port in (loop.inference_port, loop.monitor_port, loop.quality_port):
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
        (record,) = httpx.get(f"{loop.url}/retrain").json()["requests"]
        assert loop.wait_for_end(record["id"])["state"] == "promoted"  # told a moment after the model is served
        second.ctrl_c()
    finally:
        end(second.process)


def test_make_local_ends_as_a_whole_when_one_process_dies(loop: Loop, tmp_path: Path) -> None:
    local = MakeLocal(loop, tmp_path / "local.log")
    try:
        wait_until("inference runs", lambda: _by_module(loop, "run_inference"))
        local.wait_for_line("starting MLflow")
        _by_module(loop, "run_inference")[0].kill()
        assert local.process.wait(20) != 0
        assert loop.processes() == []
        assert "error: inference ended by itself (exit code -9), so all were stopped" in local.output()
    finally:
        end(local.process)


def test_make_local_ends_when_the_monitor_is_killed_during_a_training(loop: Loop, tmp_path: Path) -> None:
    local = MakeLocal(loop, tmp_path / "local.log")
    try:
        wait_until("the first training runs", loop.trainers, seconds=120)
        _by_module(loop, "run_monitor")[0].kill()
        assert local.process.wait(10) != 0
        assert loop.processes() == []
    finally:
        end(local.process)


class Starting:
    """The entry point alone, in a process group of its own."""

    def __init__(self, loop: Loop, log: Path) -> None:
        self.loop, self.log = loop, log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "src.services.local.run_local"],
                cwd=REPOSITORY,
                env={**os.environ, **loop.environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._self = psutil.Process(self.process.pid)

    def children(self) -> int:
        return len(self._self.children(recursive=True))

    def has_folders(self) -> bool:
        return (self.loop.folder / "data/retrain/new").exists()

    def says(self, text: str) -> bool:
        return text in self.log.read_text()


# From the last thing that preflight does to a loop that runs.
MOMENTS: dict[str, Callable[[Starting], bool]] = {
    "folders made": Starting.has_folders,
    "first child": lambda starting: starting.children() >= 1,
    "third child": lambda starting: starting.children() >= 3,
    "first start told": lambda starting: starting.says("started"),
    "all told": lambda starting: starting.says("quality started"),
    "monitor up": lambda starting: starting.says("watching"),
}


CASES = [
    *((number, moment, "data") for number in ("SIGINT", "SIGTERM", "SIGHUP") for moment in MOMENTS),
    # Here the first child is preprocess.
    *((number, "first child", "no data") for number in ("SIGINT", "SIGTERM", "SIGHUP")),
    ("SIGINT", "first start told", "no data"),
]


@pytest.mark.parametrize("case", CASES, ids=", ".join)
def test_stop_signal_ends_everything_at_any_moment_of_the_start(
    loop: Loop, tmp_path: Path, case: tuple[str, str, str]
) -> None:
    number, moment, data = case
    if data == "data":
        (loop.folder / "data").mkdir()
        loop.settings().dataset_file.touch()
    starting = Starting(loop, tmp_path / "local.log")
    try:
        wait_until(moment, lambda: MOMENTS[moment](starting), interval=0)
        # A terminal signals the whole group, kill the one process.
        send = os.kill if number == "SIGTERM" else os.killpg
        send(starting.process.pid, signal.Signals[number])
        assert starting.process.wait(10) == 0
        assert loop.processes() == []
    finally:
        end(starting.process)
    assert "Traceback" not in starting.log.read_text()
    assert "Error" not in starting.log.read_text()


def test_make_local_ends_with_its_terminal(loop: Loop) -> None:
    """SIGHUP, and from then on every line it prints fails."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(REPOSITORY)
        os.execvpe("make", ["make", "local"], {**os.environ, **loop.environment})  # noqa: S606 - what follows a fork
    try:
        wait_until("the monitor runs", lambda: _by_module(loop, "run_monitor"))
    finally:
        os.close(terminal)
    wait_until("everything has ended", lambda: not loop.processes(), seconds=10)
    os.waitpid(pid, 0)


def _by_module(loop: Loop, module: str) -> list[psutil.Process]:
    return [process for process in loop.processes() if any(part.endswith(module) for part in process.cmdline())]
