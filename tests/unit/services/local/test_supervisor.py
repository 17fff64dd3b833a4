"""The supervisor on real children, in this process, whose signal handlers are restored afterwards."""

import contextlib
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import psutil
import pytest

from src.core.errors import LoopError
from src.services.local.processes import LocalProcess
from src.services.local.supervisor import STOP_SIGNALS, Child, Console, collect_stop_signals, supervise
from tests.support.running import wait_until

PAUSE = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); signal.pause()"


class Supervised:
    """What one supervisor runs and prints; its processes are marked by their environment."""

    def __init__(self, folder: Path) -> None:
        self.stop = collect_stop_signals()
        self.output = io.StringIO()
        self._mark = str(folder)

    def python(self, name: str, script: str) -> LocalProcess:
        return LocalProcess(name, (sys.executable, "-c", script), {"MARK": self._mark})

    def run(self, processes: Iterable[LocalProcess], *, stop_seconds: float = 5) -> Child | None:
        return supervise(processes, self.stop, Console(self.stop, self.output), stop_seconds=stop_seconds)

    def lines(self) -> list[str]:
        return [line.split("| ")[1] for line in self.output.getvalue().splitlines()]

    def processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                ours = process.environ().get("MARK") == self._mark
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def pid_of(self, name: str) -> int:
        (line,) = (line for line in self.lines() if line.startswith(f"{name} started"))
        return int(line.partition("pid=")[2].removesuffix(")"))

    @contextlib.contextmanager
    def once_up(self, ups: int, act: Callable[[], None]) -> Iterator[list[float]]:
        """Call ``act`` once so many processes are up; yields the moment of that call."""
        moments: list[float] = []

        def wait() -> None:
            wait_until("all are up", lambda: self.output.getvalue().count("| up") == ups, seconds=20, interval=0.001)
            moments.append(time.monotonic())
            act()

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        yield moments
        thread.join(20)


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    supervised = Supervised(tmp_path)
    yield supervised
    for number, handler in handlers.items():
        signal.signal(number, handler)
    for process in supervised.processes():
        process.kill()


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_supervise_ends_all_on_a_stop_signal(supervised: Supervised, number: int) -> None:
    processes = [supervised.python(name, PAUSE) for name in ("one", "two")]
    with supervised.once_up(2, lambda: os.kill(os.getpid(), number)) as moments:
        assert supervised.run(processes) is None
        assert time.monotonic() - moments[0] < 3
    assert supervised.processes() == []


def test_supervise_starts_nothing_once_asked_to_stop(supervised: Supervised) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    assert supervised.run([supervised.python("one", PAUSE)]) is None
    assert supervised.output.getvalue() == ""


def test_supervise_ends_what_has_started_when_asked_between_two_starts(supervised: Supervised) -> None:
    def table() -> Iterator[LocalProcess]:
        yield supervised.python("one", PAUSE)
        yield supervised.python("two", PAUSE)
        os.kill(os.getpid(), signal.SIGINT)
        yield supervised.python("three", PAUSE)

    assert supervised.run(table()) is None
    assert supervised.processes() == []
    assert "two started" in supervised.output.getvalue()
    assert "three" not in supervised.output.getvalue()


def test_supervise_kills_what_ignores_sigterm(supervised: Supervised) -> None:
    processes = [supervised.python(name, STUBBORN) for name in ("one", "two")]
    with supervised.once_up(2, lambda: os.kill(os.getpid(), signal.SIGINT)) as moments:
        supervised.run(processes, stop_seconds=0.2)
        assert time.monotonic() - moments[0] < 3
    assert supervised.processes() == []


def test_supervise_ends_all_when_one_ends(supervised: Supervised) -> None:
    ending = (
        "import sys; print('first'); sys.stdout.buffer.write(b'\\xff'); print('last', file=sys.stderr); sys.exit(3)"
    )
    ended = supervised.run([supervised.python("one", PAUSE), supervised.python("two", ending)])
    assert supervised.processes() == []
    assert ended is not None
    assert (ended.name, ended.process.returncode) == ("two", 3)
    assert [line for line in supervised.output.getvalue().splitlines() if line.startswith(" two ")] == [
        " two        | first",
        " two        | \N{REPLACEMENT CHARACTER}last",
    ]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["its group", "another session"])
def test_supervise_notices_an_end_while_another_holds_the_output(supervised: Supervised, *, elsewhere: bool) -> None:
    holder = f"subprocess.Popen([sys.executable, '-c', {STUBBORN!r}], start_new_session={elsewhere})"
    processes = [
        supervised.python("one", PAUSE),
        supervised.python("two", f"import subprocess, sys; {holder}; {PAUSE}"),
    ]
    with supervised.once_up(3, lambda: os.kill(supervised.pid_of("two"), signal.SIGKILL)) as moments:
        ended = supervised.run(processes, stop_seconds=0.5)
        assert time.monotonic() - moments[0] < 5
    assert ended is not None
    assert (ended.name, ended.process.returncode) == ("two", -signal.SIGKILL)
    # What has left the group on purpose is not ours to end.
    assert len(supervised.processes()) == (1 if elsewhere else 0)


def test_supervise_ends_what_has_started_when_one_cannot_start(supervised: Supervised) -> None:
    absent = LocalProcess("two", ("/nonexistent/program",))
    with pytest.raises(LoopError, match="cannot start two: No such file or directory"):
        supervised.run([supervised.python("one", PAUSE), absent, supervised.python("three", PAUSE)])
    assert supervised.processes() == []
    assert "three" not in supervised.output.getvalue()


def test_supervise_stops_when_nobody_reads_its_lines(supervised: Supervised) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as output:
        os.close(reader)
        console = Console(supervised.stop, output)
        assert supervise([supervised.python("one", PAUSE)], supervised.stop, console) is None
    assert supervised.processes() == []
    assert supervised.stop.get(block=False) == signal.SIGHUP


def test_console_colours_the_name_on_a_terminal_only(supervised: Supervised, monkeypatch: pytest.MonkeyPatch) -> None:
    Console(supervised.stop, supervised.output).write("mlflow", "plain")
    monkeypatch.setattr(supervised.output, "isatty", lambda: True, raising=False)
    terminal = Console(supervised.stop, supervised.output)
    terminal.write("mlflow", "marked")
    terminal.write("local", "plain")
    assert supervised.output.getvalue().splitlines() == [
        " mlflow     | plain",
        "\033[36m mlflow     | \033[0mmarked",
        " local      | plain",
    ]
