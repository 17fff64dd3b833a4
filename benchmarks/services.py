"""Runs inference and the process `quality` such that they can be killed and started again."""

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.loop import inherited_environment
from benchmarks.running import ServerFailedError, process_of, tail
from src.services.local.processes import REPOSITORY

READY_SECONDS, LOOK_SECONDS = 90.0, 0.05


@dataclass
class Service:
    """One of the two processes, which can be killed and started again; each start has a log of its own.

    Attributes:
        name: ``inference`` or ``quality``, as in the name of its module.
        url: answers 200 once it is ready.
        variables: of its environment.
        folder: of its logs.
    """

    name: str
    url: str
    variables: dict[str, str]
    folder: Path
    starts: int = 0
    _running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def log(self) -> Path:
        """What the running process writes."""
        return self.folder / f"{self.name}-{self.starts}.log"

    def start(self) -> None:
        """Start it, without waiting."""
        self.starts += 1
        command = [sys.executable, "-m", f"src.services.{self.name}.run_{self.name}"]
        environment = inherited_environment() | self.variables
        self._process = self._running.enter_context(process_of(command, REPOSITORY, environment, self.log))

    def wait(self) -> None:
        """Wait until it answers. Raises ServerFailedError."""
        self.wait_for(self._answers, READY_SECONDS)

    def wait_for(self, condition: Callable[[], object], seconds: float) -> None:
        """Ask for the condition many times a second until it holds. Raises ServerFailedError: the time is over."""
        deadline, pause = time.monotonic() + seconds, threading.Event()
        while not condition():
            if time.monotonic() > deadline:
                raise ServerFailedError(f"{self.name}: not within {seconds:g} s\n{tail(self.log)}")
            pause.wait(LOOK_SECONDS)

    def kill(self) -> float:
        """End it by SIGKILL; return when, by ``time.monotonic``."""
        assert self._process is not None  # noqa: S101 - it was started
        self._process.kill()
        at = time.monotonic()
        self._process.wait()
        self._running.close()
        return at

    def stop(self) -> None:
        """Ask it to stop, and wait for its end."""
        self._running.close()

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(self.url, timeout=5, trust_env=False).is_success
        return False
