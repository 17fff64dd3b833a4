"""The loop under faults: a request that was accepted ends, whatever dies, and predictions never fail."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.core.errors import TrainerBusyError
from src.core.retrain_signal import RetrainSpool
from src.services.local.preflight import make_state_folders
from src.services.local.processes import LocalProcess, loop_processes
from tests.conftest import answers
from tests.support.loop import Loop
from tests.support.running import running, wait_until

pytestmark = pytest.mark.e2e


class Stack:
    """MLflow and inference running; the monitor as the test wants it."""

    def __init__(self, loop: Loop, folder: Path, table: dict[str, LocalProcess]) -> None:
        self.loop = loop
        self._folder = folder
        self._table = table

    def process(self, name: str) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        fast = {"MONITOR_POLL_SECONDS": "0.2", "RETRAIN_BACKOFF_SECONDS": "0.1"}
        return running(self._table[name], self._folder / f"{name}.log", **self.loop.environment, **fast)

    def monitor_log(self) -> str:
        return (self._folder / "monitor.log").read_text(errors="replace")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A loop with version 1 served and no monitor running."""
    folder = tmp_path_factory.mktemp("faults")
    loop = Loop(folder)
    settings = loop.settings()
    make_state_folders(settings)
    stack = Stack(loop, folder, {process.name: process for process in loop_processes(settings)})
    with stack.process("mlflow"), stack.process("inference"):
        wait_until("inference answers", lambda: loop.is_answering(f"{loop.url}/health"))
        mlflow = f"http://127.0.0.1:{loop.mlflow_port}/api/2.0/mlflow/experiments/search?max_results=1"
        wait_until("MLflow answers", lambda: answers(mlflow))
        first = loop.request_retrain()
        with stack.process("monitor"):
            assert loop.wait_for_end(first)["state"] == "promoted", stack.monitor_log()
        wait_until("a model is served", loop.is_ready)
        yield stack
    for process in loop.processes():
        process.kill()


def test_request_ends_when_its_trainer_is_killed(stack: Stack) -> None:
    loop = stack.loop
    before = loop.predict()["model"]["version"]
    with stack.process("monitor"), loop.constant_load() as load:
        request_id = loop.request_retrain()
        wait_until("the request runs", lambda: loop.retrain(request_id)["state"] == "running")
        killed = loop.wait_for_trainer()
        killed.kill()
        ended = loop.wait_for_end(request_id)
        loop.wait_for_version(ended["model_version"])
    assert ended["state"] == "promoted"
    assert ended["attempts"] == 2
    assert set(load) == {f"200 v{before}", f"200 v{ended['model_version']}"}


def test_request_ends_when_the_monitor_is_killed_during_training(stack: Stack) -> None:
    loop = stack.loop
    with loop.constant_load() as load, stack.process("monitor") as monitor:
        request_id = loop.request_retrain()
        trainer = loop.wait_for_trainer()
        wait_until("training holds the lock", lambda: _trainer_holds_lock(loop))
        monitor.kill()
        monitor.wait()
        second = loop.request_retrain()
        assert trainer.is_running()
        with stack.process("monitor"):
            ended = [loop.wait_for_end(request_id), loop.wait_for_end(second)]
            loop.wait_for_version(ended[1]["model_version"])
    assert [end["state"] for end in ended] == ["promoted", "promoted"]
    assert [end["attempts"] for end in ended] == [1, 1]
    assert all(answer.startswith("200 ") for answer in load), load


def _trainer_holds_lock(loop: Loop) -> bool:
    try:
        with RetrainSpool(loop.settings().retrain_dir).lock():
            return False
    except TrainerBusyError:
        return True


def test_request_ends_when_the_monitor_is_restarted_during_training(stack: Stack) -> None:
    loop = stack.loop
    with stack.process("monitor"):
        request_id = loop.request_retrain()
        loop.wait_for_trainer()
    stopped = loop.retrain(request_id)
    assert (stopped["state"], stopped["attempts"]) == ("queued", 0)  # stopped on purpose, so it has cost no attempt
    assert loop.trainers() == []
    with stack.process("monitor"):
        assert loop.wait_for_end(request_id)["state"] == "promoted"


def test_burst_of_requests_is_served_by_at_most_two_runs(stack: Stack) -> None:
    loop = stack.loop
    with stack.process("monitor"):
        ids = [loop.request_retrain()]
        loop.wait_for_trainer()
        ids += [loop.request_retrain() for _ in range(20)]
        versions = {loop.wait_for_end(request_id)["model_version"] for request_id in ids}
    assert len(versions) == 2
