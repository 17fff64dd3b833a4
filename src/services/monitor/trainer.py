"""Starts training runs: the monitor's protocol, implemented by a child process and by a container."""

import contextlib
import logging
import os
import re
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import requests
from docker import APIClient
from docker.errors import DockerException

from src.core.errors import ConnectionFailedError
from src.core.exit_codes import exit_code_of
from src.core.file_lock import lock_at_once

TERMINATE_SECONDS = 3.0
# The API version of engine 25; engine 29 refuses older ones, and the proxy admits no other.
DOCKER_API = "1.44"
DOCKER_TIMEOUT_SECONDS = 10

logger = logging.getLogger(__name__)


class StartOutcome(StrEnum):
    """The result of starting a training run."""

    STARTED = "started"
    ALREADY_RUNNING = "already_running"
    MISSING = "missing"
    FAILED = "failed"


class Trainer(Protocol):
    """Starts training runs, one at a time; a running one is stopped in ``close`` only.

    The run reports its outcome in the spool; the exit code explains a run that did not.
    """

    def start(self) -> StartOutcome:
        """Start one run and return at once. Errors that a retry may fix are logged and not raised."""

    def is_running(self) -> bool:
        """Whether a run is in progress. Raises LoopError if that is unknown."""

    def exit_code(self) -> int | None:
        """The exit code of the last run; 128 plus a signal's number where one ended it, None where it is not known."""

    def close(self) -> bool:
        """Release all resources; return whether that ended a running training."""


class ProcessTrainer:
    """Runs the training as a child process that writes to the monitor's output.

    The child inherits a locked file, which the kernel unlocks when the child has ended. A new monitor thereby detects
    the run of a monitor that was killed.

    Args:
        command: program and arguments.
        cwd: the child's working directory.
        environment: the child's whole environment.
        lock_file: the file that a running child holds locked; its folder must exist.
        on_exit: called from another thread once a run has ended.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        lock_file: Path,
        on_exit: Callable[[], None],
    ) -> None:
        self._command = tuple(command)
        self._cwd = cwd
        self._environment = dict(environment)
        self._lock_file = lock_file
        self._on_exit = on_exit
        self._child: subprocess.Popen[bytes] | None = None
        self._reaper: threading.Thread | None = None
        self._exit_code: int | None = None

    def start(self) -> StartOutcome:
        """Start the child unless the last one is still running."""
        self._forget_ended_child()
        mark = lock_at_once(self._lock_file)
        if mark is None:
            return StartOutcome.ALREADY_RUNNING
        try:
            # The command comes from the entry point and contains nothing of a signal.
            child = subprocess.Popen(  # noqa: S603
                self._command, cwd=self._cwd, env=self._environment, stdin=subprocess.DEVNULL, pass_fds=(mark,)
            )
        except OSError as error:
            logger.error("cannot start the training process %s: %s", self._command[0], error)  # noqa: TRY400 - expected
            missing = isinstance(error, FileNotFoundError | NotADirectoryError)
            return StartOutcome.MISSING if missing else StartOutcome.FAILED
        finally:
            os.close(mark)  # the child has inherited it
        self._child, self._exit_code = child, None
        # A thread reaps the child at once, while the monitor's loop may sleep.
        self._reaper = threading.Thread(target=self._reap, args=(child,), name="reaper", daemon=True)
        self._reaper.start()
        logger.info("training started as process %d", child.pid)
        return StartOutcome.STARTED

    def is_running(self) -> bool:
        """Whether a child of this monitor, or of a previous one, is running."""
        self._forget_ended_child()
        if self._child is not None:
            return True
        mark = lock_at_once(self._lock_file)
        if mark is None:
            return True
        os.close(mark)
        return False

    def exit_code(self) -> int | None:
        """That of this monitor's last child, once it has ended."""
        return self._exit_code

    def close(self) -> bool:
        """Stop the child: SIGTERM, and SIGKILL after three seconds."""
        if self._child is None or self._reaper is None or self._child.poll() is not None:
            return False
        logger.info("stopping the training process; its requests are resumed at the next start")
        self._child.terminate()
        self._reaper.join(TERMINATE_SECONDS)
        if self._child.poll() is None:
            logger.warning("the training process ignores SIGTERM: killing it")
            self._child.kill()
        self._reaper.join(TERMINATE_SECONDS)
        return True

    def _forget_ended_child(self) -> None:
        """Use a new file for the next child: a process that the ended one left behind may hold the old lock."""
        code = None if self._child is None else self._child.poll()
        if code is not None:
            self._exit_code = exit_code_of(code)
            self._child = None
            self._lock_file.unlink(missing_ok=True)

    def _reap(self, child: subprocess.Popen[bytes]) -> None:
        code = child.wait()
        level = logging.INFO if code == 0 else logging.WARNING
        ending = f"exit code {code}" if code >= 0 else f"signal {-code}"
        logger.log(level, "training process %d ended with %s", child.pid, ending)
        self._on_exit()


class DockerTrainer:
    """Starts the training container through a proxy that allows only starting it and listing containers.

    The container is never stopped, so that the monitor can restart while a training runs.

    Args:
        docker_host: where the proxy listens, such as ``tcp://docker-proxy:2375``.
        container: the training container's name, the only one that the proxy admits.

    Raises:
        ConnectionFailedError: ``docker_host`` is not an address.
    """

    def __init__(self, docker_host: str, container: str) -> None:
        self._container = container
        self._host = docker_host
        try:
            self._client = APIClient(docker_host, version=DOCKER_API, timeout=DOCKER_TIMEOUT_SECONDS)
        except (DockerException, ValueError) as error:
            raise ConnectionFailedError(f"DOCKER_HOST {docker_host!r} is not usable: {error}") from error
        self._client.trust_env = False  # without the environment's proxies

    def start(self) -> StartOutcome:
        """Ask the engine to start the container."""
        try:
            # Not the client's start(), which does not report that the container is running already.
            answer = self._client.post(
                f"{self._client.base_url}/v{DOCKER_API}/containers/{self._container}/start",
                timeout=DOCKER_TIMEOUT_SECONDS,
            )
        except requests.RequestException as error:
            self._tell(f"the Docker proxy at {self._host} does not answer ({type(error).__name__})")
            return StartOutcome.FAILED
        match answer.status_code:
            case requests.codes.no_content:
                logger.info("training container %s started", self._container)
                return StartOutcome.STARTED
            case requests.codes.not_modified:
                return StartOutcome.ALREADY_RUNNING
            case requests.codes.not_found:
                self._tell("there is no such container; docker compose up -d creates it")
                return StartOutcome.MISSING
            case status:
                self._tell(f"Docker answers {status}: {' '.join(answer.text.split())[:200]}")
                return StartOutcome.FAILED

    def is_running(self) -> bool:
        """Whether the container is running. Raises ConnectionFailedError if Docker does not say."""
        return self._status(all=False) is not None

    def exit_code(self) -> int | None:
        """That of the container's last run; None where it runs, or Docker does not say."""
        with contextlib.suppress(ConnectionFailedError):
            match = re.match(r"Exited \((\d+)\)", self._status(all=True) or "")
            return int(match[1]) if match else None
        return None

    def close(self) -> bool:
        """Close the connections to the proxy."""
        self._client.close()
        return False

    def _status(self, *, all: bool) -> str | None:  # noqa: A002 - Docker's name
        """Docker's description of the container, such as ``Up 3 seconds``; None where it lists no such container."""
        try:
            found = self._client.containers(all=all, filters={"name": self._container})
        except (requests.RequestException, DockerException) as error:
            raise ConnectionFailedError(
                f"cannot ask Docker at {self._host} whether {self._container} runs ({type(error).__name__}); "
                "see docker compose ps docker-proxy"
            ) from error
        # Docker's filter matches parts of names too.
        return next((str(item["Status"]) for item in found if f"/{self._container}" in item["Names"]), None)

    def _tell(self, trouble: str) -> None:
        logger.error("cannot start the training container %s: %s", self._container, trouble)
