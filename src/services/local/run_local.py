"""Entry point: runs the whole loop in the foreground until Ctrl-C."""

import functools
import sys
import threading

from src.core.errors import LoopError
from src.core.local_settings import LocalSettings
from src.core.retrain_queue import RetrainQueue
from src.core.settings import load_settings
from src.services.local.guide import Guide
from src.services.local.one_loop import only_loop_on
from src.services.local.preflight import check_ports, doubts, make_state_folders
from src.services.local.processes import LocalProcess, loop_processes, preprocess_process
from src.services.local.supervisor import Console, StopRequests, collect_stop_signals, supervise


def main() -> int:
    """Run the loop; return 0 after a stop signal, 1 when it could not start or one of its processes ended by itself."""
    stop = collect_stop_signals()
    try:
        settings = load_settings(LocalSettings)
        for doubt in doubts():
            print(f"warning: {doubt}", file=sys.stderr)  # noqa: T201 - the command's own output
        spool = make_state_folders(settings)
        with only_loop_on(settings.local_dir):
            check_ports(settings)
            if not settings.dataset_file.exists():
                prepare(preprocess_process(settings), stop)
            if stop.empty():
                run_loop(settings, spool, stop)
    except LoopError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command's own output
        return 1
    return 0


def prepare(process: LocalProcess, stop: StopRequests) -> None:
    """Run a one-shot process to its end; it prints its own errors.

    Raises:
        LoopError: it failed.
    """
    ended = supervise([process], stop, Console(stop, sys.stdout))
    if ended is not None and ended.process.returncode != 0:
        raise LoopError(f"{process.name} failed; the lines above say why")


def run_loop(settings: LocalSettings, spool: RetrainQueue, stop: StopRequests) -> None:
    """Start the processes, print their lines with their names, and end them all once one ends or a stop is requested.

    Raises:
        LoopError: one could not start or ended by itself.
    """
    console = Console(stop, sys.stdout)
    guide = Guide(settings, spool, say=functools.partial(console.write, "local"))
    over = threading.Event()
    watcher = threading.Thread(target=guide.run, args=(over,), name="guide", daemon=True)
    watcher.start()
    ended = supervise(loop_processes(settings), stop, console)
    over.set()
    watcher.join()
    if ended is not None:
        raise LoopError(
            f"{ended.name} ended by itself (exit code {ended.process.returncode}), so all were stopped; "
            "its lines above may say why; nothing is lost: start again with make local"
        )


if __name__ == "__main__":
    sys.exit(main())
