"""Waits until no training runs, and keeps it so while a backup is written."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from src.services.stack.compose_config import Stack
from src.services.stack.containers import containers
from src.services.stack.docker_cli import Docker, Pipes
from src.services.stack.errors import StackError

_HOLD = ("compose", "exec", "-T", "monitor", "python", "-m", "src.services.monitor.hold_training")
_SECONDS_BETWEEN_LINES = 30.0


@contextlib.contextmanager
def without_training(docker: Docker, stack: Stack, wait_seconds: float, say: Callable[[str], object]) -> Iterator[None]:
    """Hold the trainer lock for the block.

    A process in the monitor's container holds it, and ends with this one, however that ends.

    Requests that come in meanwhile are accepted, and wait.

    Raises:
        StackError: a training has not ended in time, or the lock was lost.
    """
    found = containers(docker, stack)
    if found["monitor"].state != "running":
        # Nothing starts a training then; one that was started before may still run.
        if found["train-model"].state == "running":
            raise StackError("a training is running and the monitor is not; wait for its end: docker compose ps")
        yield
        return
    try:
        with docker.piped(*_HOLD) as pipes:
            if _is_held(pipes, wait_seconds, say):
                yield
    except StackError as error:
        if "No module named" in str(error):
            raise StackError("the monitor's image is older than this checkout; run make up first") from error
        raise


def _is_held(pipes: Pipes, wait_seconds: float, say: Callable[[str], object]) -> bool:
    """Wait for the lock; False where its holder has failed, which says why itself."""
    deadline, next_line = time.monotonic() + wait_seconds, time.monotonic()
    while (line := pipes.output.readline().strip()) == b"busy":
        if time.monotonic() > deadline:
            raise StackError(f"a training has been running for {wait_seconds / 60:g} minutes; try again later")
        if time.monotonic() >= next_line:
            say("==> waiting until the training that runs has ended")
            next_line += _SECONDS_BETWEEN_LINES
    return line == b"held"
