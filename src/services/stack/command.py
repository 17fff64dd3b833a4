"""Runs a command of the stack: its output, and its errors as one line and an exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from src.services.stack.errors import StackError

_INTERRUPTED = 130


def run_command(command: Callable[[], object], *, resume: str) -> int:
    """Run it and return its exit code.

    Args:
        command: raises StackError where the user must fix something.
        resume: what to do after Ctrl-C.
    """
    try:
        command()
    except StackError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return _fail(f"interrupted; {resume}", _INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the outermost frame: a bug is reported without its values
        # No traceback: the message of an unexpected error may quote a secret.
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}, line {frame.lineno}"
        return _fail(f"{type(error).__name__} in {where}: a fault of this script; please report it", 1)
    return 0


def say(line: str) -> None:
    """Print a line that any terminal can show: a container may have been given any name."""
    print(line.encode("ascii", "backslashreplace").decode(), flush=True)  # noqa: T201 - the command's own output


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)  # noqa: T201 - the command's own output
    return code
