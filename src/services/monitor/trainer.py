"""Starting a training run: the protocol that the monitor's policy knows, and the launcher of a child process."""

import logging
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol

TERMINATE_SECONDS = 3.0

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

    def close(self) -> None:
        """Release what must not outlive the monitor."""


class ProcessTrainer:
    """Runs the training as a child process that writes to the monitor's own output.

    Args:
        command: program and arguments.
        cwd: the child's working directory.
        environment: the child's whole environment.
        on_exit: called from another thread once a run has ended.
    """

    def __init__(
        self, command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], on_exit: Callable[[], None]
    ) -> None:
        self._command = tuple(command)
        self._cwd = cwd
        self._environment = dict(environment)
        self._on_exit = on_exit
        self._child: subprocess.Popen[bytes] | None = None
        self._reaper: threading.Thread | None = None

    def start(self) -> StartOutcome:
        """Start the child unless the last one still runs."""
        if self.is_running():
            return StartOutcome.ALREADY_RUNNING
        try:
            # The command is built by the entry point; nothing of a signal reaches it.
            child = subprocess.Popen(  # noqa: S603
                self._command, cwd=self._cwd, env=self._environment, stdin=subprocess.DEVNULL
            )
        except OSError as error:
            logger.error("cannot start the training process %s: %s", self._command[0], error)  # noqa: TRY400 - expected
            missing = isinstance(error, FileNotFoundError | NotADirectoryError)
            return StartOutcome.MISSING if missing else StartOutcome.FAILED
        self._child = child
        # A thread that waits reaps the child at once, however long the monitor's loop sleeps.
        self._reaper = threading.Thread(target=self._reap, args=(child,), name="reaper", daemon=True)
        self._reaper.start()
        logger.info("training started as process %d", child.pid)
        return StartOutcome.STARTED

    def is_running(self) -> bool:
        """Whether the child has not ended."""
        return self._child is not None and self._child.poll() is None

    def close(self) -> None:
        """End the child with its owner: SIGTERM, and SIGKILL after three seconds."""
        if self._child is None or self._reaper is None:
            return
        if self.is_running():
            logger.info("stopping the training process; its requests are resumed at the next start")
            self._child.terminate()
            self._reaper.join(TERMINATE_SECONDS)
        if self.is_running():
            logger.warning("the training process ignores SIGTERM: killing it")
            self._child.kill()
        self._reaper.join(TERMINATE_SECONDS)

    def _reap(self, child: subprocess.Popen[bytes]) -> None:
        code = child.wait()
        level = logging.INFO if code == 0 else logging.WARNING
        ending = f"exit code {code}" if code >= 0 else f"signal {-code}"
        logger.log(level, "training process %d ended with %s", child.pid, ending)
        self._on_exit()
