"""Entry point: the whole loop in the foreground, one process manager, until Ctrl-C."""

import os
import shlex
import signal
import subprocess
import sys
import threading
from datetime import datetime

from honcho.manager import Manager
from honcho.printer import Message, Printer

from src.core.errors import LoopError
from src.core.retrain_signal import RetrainSpool
from src.core.settings import LocalSettings, load_settings
from src.services.local.guide import Guide
from src.services.local.preflight import check_ports, make_state_folders
from src.services.local.processes import REPOSITORY, LocalProcess, loop_processes, preprocess_process

INTERRUPTED = 130


def main() -> int:
    """Run the loop; return 0 after Ctrl-C, 1 when it could not start or one of its processes ended by itself."""
    try:
        settings = load_settings(LocalSettings)
        check_ports(settings)
        spool = make_state_folders(settings)
        if not settings.dataset_file.exists():
            prepare(preprocess_process(settings))
        return run_loop(settings, spool)
    except LoopError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command's own output
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def prepare(process: LocalProcess) -> None:
    """Run a one-shot to its end; it explains its own failure.

    Raises:
        LoopError: it failed.
    """
    environment = {**os.environ, **process.environment}
    # The command is the table's own.
    if subprocess.call(process.command, cwd=REPOSITORY, env=environment) != 0:  # noqa: S603
        raise LoopError(f"{process.name} failed; the line above says why")


def run_loop(settings: LocalSettings, spool: RetrainSpool) -> int:
    """Start the processes, relay their lines marked by name, and stop them all on Ctrl-C."""
    manager = Manager(Printer(sys.stdout, time_format=""))
    for process in loop_processes(settings):
        environment = {**os.environ, **process.environment, "PYTHONUNBUFFERED": "1"}
        manager.add_process(process.name, f"exec {shlex.join(process.command)}", env=environment, cwd=str(REPOSITORY))
    stop = threading.Event()

    def say(line: str) -> None:
        manager.events.put(Message("line", line + "\n", datetime.now(), "local", None))  # noqa: DTZ005 - never shown

    guide = Guide(settings, spool, say)
    watcher = threading.Thread(target=guide.run, args=(stop,), name="guide", daemon=True)
    # A closed terminal is a Ctrl-C, or the processes would outlive it.
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    watcher.start()
    manager.loop()
    stop.set()
    watcher.join()
    return 0 if manager.returncode in {INTERRUPTED, 128 + signal.SIGTERM} else 1


if __name__ == "__main__":
    sys.exit(main())
