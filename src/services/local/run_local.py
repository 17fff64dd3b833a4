"""Entry point: runs the whole loop in the foreground until Ctrl-C."""

import os
import shlex
import sys
import threading
from collections.abc import Iterable
from datetime import datetime

from honcho.printer import Message

from src.core.errors import LoopError
from src.core.retrain_signal import RetrainSpool
from src.core.settings import LocalSettings, load_settings
from src.services.local.guide import Guide
from src.services.local.manager import LocalManager, StopSignal
from src.services.local.one_loop import only_loop_on
from src.services.local.preflight import check_ports, doubts, make_state_folders
from src.services.local.processes import REPOSITORY, LocalProcess, loop_processes, preprocess_process


def main() -> int:
    """Run the loop; return 0 after a stop signal, 1 when it could not start or one of its processes ended by itself."""
    stop = StopSignal()
    stop.install()
    try:
        settings = load_settings(LocalSettings)
        for doubt in doubts():
            print(f"warning: {doubt}", file=sys.stderr)  # noqa: T201 - the command's own output
        spool = make_state_folders(settings)
        with only_loop_on(settings.local_dir):
            check_ports(settings)
            if not settings.dataset_file.exists():
                prepare(preprocess_process(settings), stop)
            if stop.number is None:
                run_loop(settings, spool, stop)
    except LoopError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command's own output
        return 1
    return 0


def prepare(process: LocalProcess, stop: StopSignal) -> None:
    """Run a one-shot process to its end; it prints its own errors.

    Raises:
        LoopError: it failed.
    """
    manager = managing([process], stop)
    manager.loop()
    if manager.returncode != 0 and stop.number is None:
        raise LoopError(f"{process.name} failed; the lines above say why")


def run_loop(settings: LocalSettings, spool: RetrainSpool, stop: StopSignal) -> None:
    """Start the processes, print their lines with their names, and end them all once one ends or ``stop`` is set.

    Raises:
        LoopError: one ended by itself.
    """
    manager = managing(loop_processes(settings), stop)

    def say(line: str) -> None:
        manager.events.put(Message("line", line + "\n", datetime.now(), "local", None))  # noqa: DTZ005 - never shown

    ended = threading.Event()
    watcher = threading.Thread(target=Guide(settings, spool, say).run, args=(ended,), name="guide", daemon=True)
    watcher.start()
    manager.loop()
    ended.set()
    watcher.join()
    if stop.number is None:
        raise LoopError(
            "a process ended by itself (the first line above with “stopped” names it), so all were stopped; "
            "nothing is lost: start again with make local"
        )


def managing(processes: Iterable[LocalProcess], stop: StopSignal) -> LocalManager:
    """A manager that will run these processes from the repository's root."""
    manager = LocalManager(stop, sys.stdout)
    for process in processes:
        environment = {**os.environ, **process.environment, "PYTHONUNBUFFERED": "1"}
        manager.add_process(process.name, f"exec {shlex.join(process.command)}", env=environment, cwd=str(REPOSITORY))
    return manager


if __name__ == "__main__":
    sys.exit(main())
