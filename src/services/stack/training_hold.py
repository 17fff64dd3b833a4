"""Waits until no training runs, and keeps it so while a backup is written."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from src.services.stack.compose_config import Stack
from src.services.stack.containers import RUNNING, Container, containers
from src.services.stack.docker_cli import Docker, Pipes
from src.services.stack.errors import StackError

_HOLD = ("compose", "exec", "-T", "monitor", "python", "-m", "src.services.monitor.hold_training")
_SECONDS_BETWEEN_LINES = 30.0
# States of a monitor's container that starts no training.
_AT_REST = ("created", "exited", "dead")


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
        _require_rest(found)
        yield
        if containers(docker, stack)["monitor"].state not in _AT_REST:
            raise StackError("the monitor was started during the backup; make the backup again")
        return
    try:
        with docker.piped(*_HOLD) as pipes:
            if _is_held(pipes, wait_seconds, say):
                yield
    except StackError as error:
        if "No module named" in str(error):
            raise StackError("the monitor's image is older than this checkout; run make up first") from error
        raise


def _require_rest(found: dict[str, Container]) -> None:
    """Refuse where a training runs without the monitor, or a monitor that may start one cannot be asked to wait."""
    state = found["monitor"].state
    if state not in _AT_REST:
        raise StackError(
            f"the monitor's container is {state}, so trainings cannot be held; first docker compose unpause monitor or "
            "docker compose stop monitor"
        )
    if found["train-model"].state in RUNNING:  # it was started before
        raise StackError("a training is running and the monitor is not; wait for its end: docker compose ps")


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
