"""The launcher of a child process, on real children."""

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from src.services.monitor import trainer as module
from src.services.monitor.trainer import ProcessTrainer, StartOutcome
from tests.support.running import wait_until

SLEEPER = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); signal.pause()"


@contextmanager
def trainer_of(script: str, folder: Path, **environment: str) -> Iterator[tuple[ProcessTrainer, "queue.Queue[None]"]]:
    exits: queue.Queue[None] = queue.Queue()
    trainer = ProcessTrainer(
        (sys.executable, "-c", script),
        cwd=folder,
        environment={**os.environ, **environment},
        lock_file=folder / "process.lock",
        on_exit=lambda: exits.put(None),
    )
    try:
        yield trainer, exits
    finally:
        trainer.close()


def bare_trainer(command: str, folder: Path, cwd: Path) -> ProcessTrainer:
    return ProcessTrainer((command,), cwd=cwd, environment={}, lock_file=folder / "process.lock", on_exit=lambda: None)


def test_start_runs_the_command_in_its_folder_and_environment(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script = "import os, sys; print(os.getcwd(), os.environ['WHO']); print('oops', file=sys.stderr)"
    with trainer_of(script, tmp_path, WHO="me") as (trainer, exits):
        assert trainer.start() is StartOutcome.STARTED
        exits.get(timeout=30)
    output = capfd.readouterr()
    assert output.out == f"{tmp_path} me\n"
    assert "oops" in output.err


@pytest.mark.parametrize(
    ("script", "ending"),
    [("", "exit code 0"), ("raise SystemExit(3)", "exit code 3"), ("import os; os.kill(os.getpid(), 9)", "signal 9")],
)
def test_end_is_reaped_logged_and_reported_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, script: str, ending: str
) -> None:
    caplog.set_level("INFO")
    with trainer_of(script, tmp_path) as (trainer, exits):
        trainer.start()
        exits.get(timeout=30)
        assert not trainer.is_running()
        with pytest.raises(ChildProcessError):  # no zombie is left to wait for
            os.waitpid(int(caplog.messages[0].split()[-1]), os.WNOHANG)
    assert caplog.messages[-1].endswith(f"ended with {ending}")


def test_second_start_while_running_starts_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with trainer_of(SLEEPER, tmp_path) as (trainer, exits):
        trainer.start()
        wait_until("the child is up", lambda: "up" in capfd.readouterr().out)
        assert trainer.is_running()
        assert trainer.start() is StartOutcome.ALREADY_RUNNING
        trainer.close()
        exits.get(timeout=5)
        assert exits.empty()
        assert trainer.start() is StartOutcome.STARTED


def test_later_monitor_knows_of_a_child_whose_monitor_is_gone_until_it_ends(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with trainer_of(SLEEPER, tmp_path) as (trainer, exits):
        trainer.start()
        later = bare_trainer(sys.executable, tmp_path, tmp_path)  # from the child's first instruction on
        assert later.is_running()
        assert later.start() is StartOutcome.ALREADY_RUNNING
        wait_until("the child is up", lambda: "up" in capfd.readouterr().out)
        later.close()
        assert trainer.is_running()  # it is not the later one's to stop
        trainer.close()
        exits.get(timeout=5)
        assert not later.is_running()


def test_what_an_ended_child_leaves_behind_holds_up_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def printed() -> str:
        return capfd.readouterr().out.strip()

    left_behind = "import os, signal; os.fork() or (print(os.getpid(), flush=True), signal.pause())"
    with trainer_of(left_behind, tmp_path) as (trainer, exits):
        trainer.start()
        exits.get(timeout=30)
        grandchild = int(wait_until("the grandchild tells its pid", printed))
        try:
            assert not trainer.is_running()
            assert trainer.start() is StartOutcome.STARTED
            exits.get(timeout=30)
        finally:
            os.kill(grandchild, signal.SIGKILL)
        other = int(wait_until("the second one too", printed))
        os.kill(other, signal.SIGKILL)


@pytest.mark.parametrize(("command", "cwd"), [("no-such-program", "."), (sys.executable, "no-such-folder")])
def test_start_of_something_missing_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, command: str, cwd: str
) -> None:
    trainer = bare_trainer(command, tmp_path, tmp_path / cwd)
    assert trainer.start() is StartOutcome.MISSING
    assert not trainer.is_running()
    assert "cannot start the training process" in caplog.text
    trainer.close()


def test_start_of_something_that_cannot_run_fails(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no program")
    trainer = bare_trainer(str(tmp_path / "data"), tmp_path, tmp_path)
    assert trainer.start() is StartOutcome.FAILED
    assert not trainer.is_running()


def test_close_ends_a_child_that_heeds_sigterm_at_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with trainer_of(SLEEPER, tmp_path) as (trainer, exits):
        trainer.start()
        wait_until("the child is up", lambda: "up" in capfd.readouterr().out)
        before = time.monotonic()
        assert trainer.close()
        assert time.monotonic() - before < module.TERMINATE_SECONDS
        assert not trainer.is_running()
        exits.get(timeout=5)


def test_close_kills_a_child_that_ignores_sigterm(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TERMINATE_SECONDS", 0.3)
    with trainer_of(STUBBORN, tmp_path) as (trainer, exits):
        trainer.start()
        wait_until("the child is up", lambda: "up" in capfd.readouterr().out)
        trainer.close()
        exits.get(timeout=5)
        assert not trainer.is_running()
    assert f"signal {signal.SIGKILL.value}" in caplog.text


def test_close_without_a_child_does_nothing(tmp_path: Path) -> None:
    before = threading.active_count()
    bare_trainer("x", tmp_path, tmp_path).close()
    assert threading.active_count() == before
