"""The process manager on real children, in this process, whose signal handlers come back afterwards."""

import contextlib
import io
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import honcho.manager
import psutil
import pytest

from src.services.local.manager import STOP_SIGNALS, Child, LocalManager, StopSignal
from tests.support.running import wait_until

PAUSE = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); signal.pause()"


def python(script: str) -> str:
    return f"exec {shlex.join((sys.executable, '-c', script))}"


class Managed:
    """A manager, its stop signal, what it has printed, and what it has started, marked by its environment."""

    def __init__(self, folder: Path) -> None:
        self.stop = StopSignal()
        self.output = io.StringIO()
        self.manager = LocalManager(self.stop, self.output)
        self._environment = {**os.environ, "MARK": str(folder)}

    def add(self, name: str, command: str, **options: str) -> None:
        self.manager.add_process(name, command, env=self._environment, **options)

    def processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                ours = process.environ().get("MARK") == self._environment["MARK"]
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def loop_until(self, ups: int, then: Callable[[], None]) -> float:
        """Run the manager, doing ``then`` once so many processes are up; returns the seconds from there to its end."""
        moments: list[float] = []

        def act() -> None:
            wait_until("all are up", lambda: self.output.getvalue().count("| up") == ups, seconds=20, interval=0.001)
            moments.append(time.monotonic())
            then()

        actor = threading.Thread(target=act, daemon=True)
        actor.start()
        self.manager.loop()
        actor.join(20)
        return time.monotonic() - moments[0]


@pytest.fixture
def managed(tmp_path: Path) -> Iterator[Managed]:
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    managed = Managed(tmp_path)
    yield managed
    for number, handler in handlers.items():
        signal.signal(number, handler)
    for process in managed.processes():
        process.kill()


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_manager_ends_all_on_a_stop_signal(managed: Managed, number: int) -> None:
    managed.add("one", python(PAUSE))
    managed.add("two", python(PAUSE))
    seconds = managed.loop_until(2, lambda: os.kill(os.getpid(), number))
    assert seconds < 3
    assert managed.processes() == []
    assert managed.stop.number == number


def test_manager_starts_nothing_once_asked_to_stop(managed: Managed) -> None:
    managed.add("one", python(PAUSE))
    managed.stop.note(signal.SIGTERM)
    managed.manager.loop()
    assert managed.output.getvalue() == ""


def test_manager_ends_what_has_started_when_asked_between_two_starts(
    managed: Managed, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Child.start

    def interrupted(child: Child, events: object) -> int:
        pid = start(child, events)  # type: ignore[arg-type]
        if child.name == "two":
            os.kill(os.getpid(), signal.SIGINT)
        return pid

    monkeypatch.setattr(Child, "start", interrupted)
    for name in ("one", "two", "three"):
        managed.add(name, python(PAUSE))
    managed.manager.loop()
    assert managed.processes() == []
    assert "two started" in managed.output.getvalue()
    assert "three" not in managed.output.getvalue()


def test_manager_heeds_a_signal_before_its_own_handlers_are_in_place(
    managed: Managed, monkeypatch: pytest.MonkeyPatch
) -> None:
    install = managed.stop.install

    def late() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        install()

    monkeypatch.setattr(managed.stop, "install", late)
    managed.add("one", python(PAUSE))
    managed.manager.loop()
    assert "started" not in managed.output.getvalue()
    assert managed.stop.number == signal.SIGTERM


def test_manager_kills_what_ignores_sigterm(managed: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(honcho.manager, "KILL_WAIT", 0.2)
    managed.add("one", python(STUBBORN))
    managed.add("two", python(STUBBORN))
    managed.loop_until(2, lambda: managed.stop.note(signal.SIGINT))
    assert managed.processes() == []
    assert "one stopped (rc=-9)" in managed.output.getvalue()


def test_manager_ends_all_when_one_ends(managed: Managed) -> None:
    managed.add("one", python(PAUSE))
    managed.add("two", python("print('first'); print('last'); raise SystemExit(3)"))
    managed.manager.loop()
    assert managed.processes() == []
    assert managed.manager.returncode == 3
    assert managed.stop.number is None
    lines = [line.split("| ")[1] for line in managed.output.getvalue().splitlines()]
    assert lines.index("first") < lines.index("last") < lines.index("two stopped (rc=3)")


@pytest.mark.parametrize("elsewhere", [False, True], ids=["its group", "another session"])
def test_manager_notices_an_end_while_another_holds_the_output(managed: Managed, *, elsewhere: bool) -> None:
    holder = f"subprocess.Popen([sys.executable, '-c', {STUBBORN!r}], start_new_session={elsewhere})"
    managed.add("one", python(PAUSE))
    managed.add("two", python(f"import subprocess, sys; {holder}; {PAUSE}"))

    def kill_two() -> None:
        os.kill(managed.manager._processes["two"]["pid"], signal.SIGKILL)  # noqa: SLF001 - honcho has no other way

    seconds = managed.loop_until(3, kill_two)
    assert seconds < 5
    assert managed.manager.returncode == -signal.SIGKILL
    # What has left the group on purpose is not ours to end.
    assert len(managed.processes()) == (1 if elsewhere else 0)


def test_manager_ends_what_has_started_when_one_cannot_start(managed: Managed) -> None:
    managed.add("one", python(PAUSE))
    managed.add("two", python(PAUSE), cwd="/nonexistent")
    managed.add("three", python(PAUSE))
    managed.manager.loop()
    assert managed.processes() == []
    assert managed.manager.returncode == 1
    assert "cannot start two: No such file or directory" in managed.output.getvalue()
    assert "three" not in managed.output.getvalue()


def test_manager_stops_when_nobody_reads_its_lines(managed: Managed) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as output:
        manager = LocalManager(managed.stop, output)
        managed.manager = manager
        managed.add("one", python(PAUSE))
        os.close(reader)
        manager.loop()
    assert managed.processes() == []
    assert managed.stop.number == signal.SIGHUP
