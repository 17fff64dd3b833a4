"""Runs processes side by side in the foreground: lines marked by name, and one end for all."""

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterable
from typing import IO, NamedTuple, TextIO, TypeAlias

from src.core.errors import LoopError
from src.services.local.processes import REPOSITORY, LocalProcess

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOP_SECONDS = 5.0
KILL_SECONDS = 1.0
POLL_SECONDS = 0.1
COLOURS = {"mlflow": 36, "inference": 33, "monitor": 32, "quality": 35}

# The stop signals so far. `SimpleQueue.put` is safe in a signal handler, whatever code it interrupts.
StopRequests: TypeAlias = "queue.SimpleQueue[int]"


def collect_stop_signals() -> StopRequests:
    """Collect Ctrl-C, SIGTERM and the closing of the terminal from now on."""
    stop: StopRequests = queue.SimpleQueue()
    for number in STOP_SIGNALS:
        signal.signal(number, lambda number, _: stop.put(number))
    return stop


class Console:
    """Prints lines from any thread, marked by name; on a terminal in colours. A closed output requests a stop."""

    def __init__(self, stop: StopRequests, output: TextIO) -> None:
        self._stop, self._output, self._lock = stop, output, threading.Lock()
        self._colours = COLOURS if output.isatty() else {}

    def write(self, name: str, line: str) -> None:
        """Print one line of a process."""
        prefix = f" {name:10} | "
        if name in self._colours:
            prefix = f"\033[{self._colours[name]}m{prefix}\033[0m"
        with self._lock:
            try:
                print(prefix + line, file=self._output, flush=True)
            except OSError:
                # Otherwise flushing the buffer fails again at exit.
                with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - its descriptor is what is needed
                    os.dup2(nowhere.fileno(), self._output.fileno())
                self._stop.put(signal.SIGHUP)

    def write_all(self, name: str, lines: IO[str]) -> None:
        """Print the lines of a process until its output ends."""
        with lines:
            for line in lines:
                self.write(name, line.rstrip("\n"))


class Child(NamedTuple):
    """A started process, which leads a group of its own, and the thread that prints its lines."""

    name: str
    process: subprocess.Popen[str]
    printing: threading.Thread


def supervise(
    processes: Iterable[LocalProcess], stop: StopRequests, console: Console, *, stop_seconds: float = STOP_SECONDS
) -> Child | None:
    """Run processes until one ends by itself or a stop is requested, then end them all.

    Returns the one that ended by itself; None after a stop.

    Raises:
        LoopError: one cannot be started.
    """
    children: list[Child] = []
    try:
        for process in processes:
            if not stop.empty():
                return None
            children.append(start(process, console))
        return first_ended(children, stop)
    finally:
        end(children, stop_seconds)


def start(process: LocalProcess, console: Console) -> Child:
    """Start a process; its lines go to the console. Raises LoopError."""
    try:
        child = subprocess.Popen(  # noqa: S603 - the commands are those of the table
            process.command,
            cwd=REPOSITORY,
            env={**os.environ, **process.environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise LoopError(f"cannot start {process.name}: {error.strerror}") from error
    console.write("system", f"{process.name} started (pid={child.pid})")
    printing = threading.Thread(target=console.write_all, args=(process.name, child.stdout), daemon=True)
    printing.start()
    return Child(process.name, child, printing)


def first_ended(children: list[Child], stop: StopRequests) -> Child | None:
    """Wait until a process ends, even if something that it started still holds its output; None after a stop."""
    pause = threading.Event()
    while stop.empty():
        for child in children:
            if child.process.poll() is not None:
                return child
        pause.wait(POLL_SECONDS)
    return None


def end(children: list[Child], stop_seconds: float) -> None:
    """End the processes and what they started: SIGTERM, and SIGKILL after ``stop_seconds``."""
    for number, seconds in ((signal.SIGTERM, stop_seconds), (signal.SIGKILL, KILL_SECONDS)):
        deadline = time.monotonic() + seconds
        for child in children:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended; the second on macOS
                os.killpg(child.process.pid, number)
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0, deadline - time.monotonic()))
            child.printing.join(max(0, deadline - time.monotonic()))
