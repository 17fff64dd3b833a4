"""How a measurement is made, for its report: the command, the commit and the machine. Also shows its progress."""

import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import describe
from src.services.local.processes import REPOSITORY


def commit(folder: Path = REPOSITORY) -> str:
    """The commit that is checked out, abbreviated; ``-dirty`` is appended if files have been changed since."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - fixed
    return found.stdout.strip() or "unknown"


def make_command(task: str, arguments: Sequence[str]) -> str:
    """The command that measures so, such as ``make measure-gate GATE_ARGS='--seeds 3'``."""
    variable = f"{task.rpartition('-')[2].upper()}_ARGS"
    return shlex.join(["make", task, *([f"{variable}={shlex.join(arguments)}"] if arguments else [])])


def heading(command: str) -> str:
    """The lines of a report that say how its figures are made: by which command, of which commit, on which machine.

    To be asked for before the measurement, as the load counts.
    """
    machine = describe()
    load = f"{machine.load:.2f}{' (idle)' if machine.idle else ''}"
    return (
        f"`{command}`, commit {commit()}, {machine.measured_at}, {machine.processor},\n"
        f"{machine.cores} cores, {machine.memory_bytes / 2**30:.0f} GiB, {machine.system}, Python {machine.python}.\n"
        f"The load before was {load}."
    )


def tell(text: str) -> None:
    """Show progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)  # noqa: T201 - the command's own output
