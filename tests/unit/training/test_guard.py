"""The training's small parent process, with real children."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from src.core.exit_codes import ExitCode
from src.services.local.processes import REPOSITORY
from src.training.guard import main

KILL_ITSELF = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Put back the signal handlers that the guard replaces."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def counting(*values: int) -> Callable[[], int]:
    return iter(values).__next__


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.parametrize("code", [0, 1, 2, 75])
def test_exit_code_is_the_childs(code: int) -> None:
    assert main(python(f"raise SystemExit({code})"), counting(0, 1)) == code


def test_child_that_the_kernel_killed_for_memory_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(python(KILL_ITSELF), counting(4, 5)) == ExitCode.OUT_OF_MEMORY
    (line,) = capsys.readouterr().err.splitlines()
    assert "ERROR   train-model: out of memory: the training reached its limit of" in line
    assert "raise TRAIN_MEMORY in .env" in line


def test_child_that_was_killed_otherwise_is_not_out_of_memory(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(python(KILL_ITSELF), counting(4, 4)) == 137
    assert capsys.readouterr().err == ""


def test_another_signal_is_not_out_of_memory() -> None:
    assert main(python("import os; os.abort()"), counting(0, 1)) == 134


def test_helper_that_was_killed_is_not_the_childs_end() -> None:
    assert main(python("raise SystemExit(1)"), counting(0, 1)) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_the_child(number: signal.Signals) -> None:
    child = (
        "import signal, sys\n"
        "for n in (signal.SIGTERM, signal.SIGINT):\n"
        "    signal.signal(n, lambda received, _: sys.exit(40 + received))\n"
        "print('ready', flush=True)\n"
        "signal.pause()"
    )
    command = [sys.executable, "-m", "src.training.guard", *python(child)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as guard:
        assert guard.stdout is not None
        assert guard.stdout.readline() == "ready\n"
        os.kill(guard.pid, number)
        assert guard.wait(30) == 40 + number
