"""Creates the virtual environment: uv from PyPI, then the locked packages.

Needs the standard library alone. Any Python from 3.6 on can parse it, with quoted annotations, so that an old one can
report that it is too old.
"""

import os
import pathlib
import subprocess
import sys

OLDEST = (3, 11)
NEWEST = (3, 14)
UV_VERSION = "0.13.9"
REPOSITORY = pathlib.Path(__file__).resolve().parents[3]


class SetupError(Exception):
    """A problem of this machine that the user must fix; the message says which."""


def check_python(version: "tuple[int, int]", executable: str) -> None:
    """Refuse a Python outside the lock file's range."""
    if not OLDEST <= version <= NEWEST:
        wanted = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
        raise SetupError(
            f"this needs Python {wanted}, and {executable} is {version[0]}.{version[1]}; "
            "name another one, such as: make PYTHON=python3.13 local"
        )


def check_writable(folder: pathlib.Path) -> None:
    """Refuse a folder that cannot be written to."""
    probe = folder / f".writable-{os.getpid()}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        advice = "make it writable or clone the repository elsewhere"
        raise SetupError(f"cannot write to {folder} ({error.strerror}); {advice}") from error


def run(what: str, command: "list[str]", advice: str) -> None:
    """Announce and run one step of the set-up; its output goes to the terminal."""
    print(f"==> {what}", flush=True)  # noqa: T201 - the set-up's own output
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "UV_PROJECT_ENVIRONMENT": str(REPOSITORY / ".venv")}
    environment.pop("VIRTUAL_ENV", None)
    # The commands are constants of this file.
    if subprocess.call(command, cwd=str(REPOSITORY), env=environment) != 0:  # noqa: S603
        raise SetupError(f"{what} failed; {advice}")


def install_uv() -> str:
    """Install the pinned uv into a separate environment and return its path."""
    folder = REPOSITORY / ".uv"
    stamp = folder / UV_VERSION
    if not stamp.exists():
        python = str(folder / "bin" / "python")
        venv = [sys.executable, "-m", "venv", "--clear", str(folder)]
        run("making .uv for the installer", venv, "on Debian and Ubuntu, install the package python3-venv")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"uv=={UV_VERSION}"]
        run(f"installing uv {UV_VERSION}", pip, "can this machine reach PyPI?")
        stamp.touch()
    return str(folder / "bin" / "uv")


def main() -> int:
    """Set up ``.venv``; return the exit code."""
    try:
        check_python(sys.version_info[:2], sys.executable)
        check_writable(REPOSITORY)
        sync = [install_uv(), "sync", "--locked", "--compile-bytecode", "--python", sys.executable]
        run("installing the locked packages into .venv (once, about 1 GB)", sync, "the lines above say why")
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the set-up's own output
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
