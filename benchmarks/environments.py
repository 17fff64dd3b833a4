"""A separate environment for every peer, created by uv from a file of pinned versions.

The requirements are in ``requirements/<name>.in``; ``uv pip compile --universal --no-header --no-annotate <name>.in -o
<name>.txt`` pins it.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

from benchmarks.servers.server import PROJECT
from src.services.local.processes import REPOSITORY

REQUIREMENTS = Path(__file__).parent / "requirements"
UV = REPOSITORY / ".uv/bin/uv"
# The newest version that MLServer supports.
NEWEST_PYTHON = (3, 12)
TIME_LIMIT_SECONDS = 900
REASON_LINES = 4


class NotInstalledError(Exception):
    """A peer's environment cannot be created; the message is the installer's."""


def python_of(environment: str, folder: Path, wanted: Path = REQUIREMENTS) -> Path:
    """The Python of an environment below the folder, which is created if it is missing or outdated.

    Args:
        environment: ``PROJECT``, or a file's name without its suffix.
        folder: the folder of environments.
        wanted: the folder of requirements files.

    Raises:
        NotInstalledError: with the last lines of uv's output, or why the file cannot be read.
    """
    if environment == PROJECT:
        return Path(sys.executable)
    requirements = wanted / f"{environment}.txt"
    place = folder / environment
    python = place / "bin" / "python"
    try:
        stamp = place / f"{hashlib.sha256(requirements.read_bytes()).hexdigest()}.complete"
    except OSError as error:
        raise NotInstalledError(f"{requirements.name} cannot be read: {error.strerror}") from error
    if not stamp.exists():
        _uv("venv", "--quiet", "--clear", "--python", _version(), str(place))
        _uv("pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), "-r", str(requirements))
        stamp.touch()
    return python


def _version() -> str:
    """The project's own Python if all peers support it, so that all are measured with the same one."""
    version = sys.version_info[:2]
    return sys.executable if version <= NEWEST_PYTHON else "{}.{}".format(*NEWEST_PYTHON)


def _uv(*arguments: str) -> None:
    try:
        subprocess.run(  # noqa: S603 - the project's own uv
            [str(UV), *arguments],
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIME_LIMIT_SECONDS,
        )
    except subprocess.CalledProcessError as error:
        raise NotInstalledError(" ".join(error.stdout.strip().splitlines()[-REASON_LINES:])) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalledError(str(error)) from error
