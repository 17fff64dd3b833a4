"""Starting a training run: the protocol that the monitor's policy knows, a child process, or a container."""

import logging
import os
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
from src.core.file_lock import open_lock_file, try_lock

TERMINATE_SECONDS = 3.0
# Engine 25 and newer speak it; 29 refuses older ones. The proxy admits no other.
DOCKER_API = "1.44"
DOCKER_TIMEOUT_SECONDS = 10

logger = logging.getLogger(__name__)


class StartOutcome(StrEnum):
    """What came of asking for a training run."""

    STARTED = "started"
    ALREADY_RUNNING = "already_running"
    MISSING = "missing"
    FAILED = "failed"


class Trainer(Protocol):
    """Starts training runs, one at a time, and never stops a running one except at its own end.

    Whether a run ended well is not its business: the run says so in the spool.
    """

    def start(self) -> StartOutcome:
        """Start one run and return at once. Logs why it could not; raises nothing that trying again could mend."""

    def is_running(self) -> bool:
        """Whether a run that this trainer knows of has not ended. Raises LoopError where that cannot be told."""

    def close(self) -> bool:
        """Release what must not outlive the monitor; whether that has ended a running training."""


class ProcessTrainer:
    """Runs the training as a child process that writes to the monitor's own output.

    The child inherits a locked file, which the kernel unlocks when it has died: a later monitor knows by that of a
    run whose monitor was killed, from its first instruction on.

    Args:
        command: program and arguments.
        cwd: the child's working directory.
        environment: the child's whole environment.
        lock_file: the file that marks a running child; its folder must exist.
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

    def start(self) -> StartOutcome:
        """Start the child unless the last one still runs."""
        self._forget_ended_child()
        mark = self._take_mark()
        if mark is None:
            return StartOutcome.ALREADY_RUNNING
        try:
            # The command is built by the entry point; nothing of a signal reaches it.
            child = subprocess.Popen(  # noqa: S603
                self._command, cwd=self._cwd, env=self._environment, stdin=subprocess.DEVNULL, pass_fds=(mark,)
            )
        except OSError as error:
            logger.error("cannot start the training process %s: %s", self._command[0], error)  # noqa: TRY400 - expected
            missing = isinstance(error, FileNotFoundError | NotADirectoryError)
            return StartOutcome.MISSING if missing else StartOutcome.FAILED
        finally:
            os.close(mark)  # the child has its own
        self._child = child
        # A thread that waits reaps the child at once, however long the monitor's loop sleeps.
        self._reaper = threading.Thread(target=self._reap, args=(child,), name="reaper", daemon=True)
        self._reaper.start()
        logger.info("training started as process %d", child.pid)
        return StartOutcome.STARTED

    def is_running(self) -> bool:
        """Whether a child of this monitor, or of one before it, has not ended."""
        self._forget_ended_child()
        mark = self._take_mark()
        if mark is None:
            return True
        os.close(mark)
        return False

    def close(self) -> bool:
        """End the child with its owner: SIGTERM, and SIGKILL after three seconds."""
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
        """A process that our ended child has left behind may hold the mark for ever: the next one gets a new file."""
        if self._child is not None and self._child.poll() is not None:
            self._child = None
            self._lock_file.unlink(missing_ok=True)

    def _take_mark(self) -> int | None:
        """A descriptor of the locked file, or None while a child holds it."""
        mark = open_lock_file(self._lock_file)
        taken = False
        try:
            taken = try_lock(mark)
        finally:
            if not taken:
                os.close(mark)
        return mark if taken else None

    def _reap(self, child: subprocess.Popen[bytes]) -> None:
        code = child.wait()
        level = logging.INFO if code == 0 else logging.WARNING
        ending = f"exit code {code}" if code >= 0 else f"signal {-code}"
        logger.log(level, "training process %d ended with %s", child.pid, ending)
        self._on_exit()


class DockerTrainer:
    """Starts the training container through a proxy that allows starting it, and listing, and nothing else.

    Nobody but its own end stops the container, so that a monitor may come and go while a training runs.

    Args:
        docker_host: where the proxy listens, such as ``tcp://docker-proxy:2375``.
        container: the training container's name, which the proxy pins.

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
        self._client.trust_env = False  # the proxies of the environment lead elsewhere

    def start(self) -> StartOutcome:
        """Ask the engine to start the container."""
        try:
            # Not the client's start(): it does not tell a start from a container that runs already.
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
                self._tell("there is no such container; docker compose up -d brings it back")
                return StartOutcome.MISSING
            case status:
                self._tell(f"Docker answers {status}: {' '.join(answer.text.split())[:200]}")
                return StartOutcome.FAILED

    def is_running(self) -> bool:
        """Whether the container runs. Raises ConnectionFailedError where that cannot be told."""
        try:
            running = self._client.containers(filters={"name": self._container})
        except (requests.RequestException, DockerException) as error:
            raise ConnectionFailedError(
                f"cannot ask Docker at {self._host} whether {self._container} runs ({type(error).__name__}); "
                "see docker compose ps docker-proxy"
            ) from error
        # Docker's filter matches parts of names too.
        return any(f"/{self._container}" in container["Names"] for container in running)

    def close(self) -> bool:
        """Close the connections to the proxy."""
        self._client.close()
        return False

    def _tell(self, trouble: str) -> None:
        logger.error("cannot start the training container %s: %s", self._container, trouble)
