"""Start a real process, wait until it answers, and end it."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from src.services.local.processes import REPOSITORY, LocalProcess

T = TypeVar("T")

# Below the ports that Linux gives to clients, a part for each of so many workers.
FIRST_PORT, LAST_PORT, WORKERS = 12_000, 32_000, 8


def _ports_of(worker: str) -> Iterator[int]:
    """The ports of a worker such as ``gw1``, beginning with any of them, as several sessions may run."""
    each = (LAST_PORT - FIRST_PORT) // WORKERS
    first = FIRST_PORT + each * (int(worker.removeprefix("gw")) % WORKERS)
    offset = random.randrange(each)  # noqa: S311 - not for secrets
    return (first + (offset + step) % each for step in range(each))


_ports = _ports_of(os.environ.get("PYTEST_XDIST_WORKER", "gw0"))


def free_port() -> int:
    """A port that nothing listens on right now, and another one each time.

    It is none of those that the system gives to clients, and each of pytest's workers has its own: otherwise another
    process may take it before it is used.
    """
    for port in _ports:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def wait_until(what: str, probe: Callable[[], T | None], *, seconds: float = 60, interval: float = 0.05) -> T:
    """The first truthy answer of ``probe``; fails naming ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain: {what}")
        pause.wait(interval)


@contextlib.contextmanager
def running(process: LocalProcess, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process of the loop, its output in ``log``; ended with SIGTERM, then SIGKILL."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            process.command,
            cwd=REPOSITORY,
            env={**os.environ, **process.environment, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield child
    finally:
        end(child)


def end(child: subprocess.Popen[bytes], *, seconds: float = 15) -> int:
    """End a process and its group; return its exit code."""
    if child.poll() is None:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    return child.wait()
