"""Runs the docker command line in the stack's folder."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from src.services.stack.compose_config import Stack
from src.services.stack.errors import StackError

_TIMEOUT_SECONDS = 60.0
_SECONDS_BETWEEN_LOOKS = 3.0
_HELP = re.compile(r"'docker .*--help'")


@dataclass(frozen=True)
class Answer:
    """A docker command's exit code and output, with secrets removed from the errors."""

    code: int
    output: str
    errors: str

    @property
    def last_error(self) -> str:
        """The last line that is not empty, and not where docker refers to its help."""
        lines = [line.strip() for line in self.errors.splitlines() if line.strip() and not _HELP.search(line)]
        return lines[-1] if lines else f"exit code {self.code}"


@dataclass(frozen=True)
class Pipes:
    """The input and the output of a docker command that runs."""

    input: IO[bytes]
    output: IO[bytes]


class Docker:
    """The docker CLI, run in ``folder`` with ``environment``; secrets are passed through these and ``.env`` alone."""

    def __init__(self, folder: Path, environment: Mapping[str, str], secrets: Iterable[str] = ()) -> None:
        self._folder = folder
        self._environment = dict(environment)
        self._secrets = tuple(secrets)

    def run(self, *arguments: str, given: str = "", seconds: float = _TIMEOUT_SECONDS) -> Answer:
        """Run ``docker`` to its end and return its output; ``given`` is its standard input.

        Raises:
            StackError: the program does not exist, or hangs.
        """
        try:
            ended = subprocess.run(  # noqa: S603 - the arguments are this package's own
                ["docker", *arguments],  # noqa: S607 - from the PATH, as the user runs it
                cwd=self._folder,
                env=self._environment,
                input=given,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=seconds,
                check=False,
            )
        except OSError as error:
            raise self._no_program(error) from error
        except subprocess.TimeoutExpired as error:
            raise StackError(f"docker {arguments[0]} has not answered for {seconds:.0f} s; restart Docker") from error
        return Answer(ended.returncode, ended.stdout, self._blotted(ended.stderr))

    def checked(self, *arguments: str) -> str:
        """The output of a command that must succeed. Raises StackError."""
        answer = self.run(*arguments)
        if answer.code != 0:
            words = " ".join(arguments[: 1 if arguments[0] in {"ps", "rm"} else 2])
            raise StackError(f"docker {words} failed: {answer.last_error}")
        return answer.output

    def follow(self, *arguments: str, echo: Callable[[str], None], hopeless: Callable[[], bool]) -> Answer:
        """Run ``docker`` to its end, passing on each line of output and errors.

        Every few seconds ``hopeless`` is called; once it returns true, the command is ended.
        """
        child = self._started(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        lines = []
        with child, _ended_once(hopeless, child):
            for line in child.stdout or ():
                lines.append(self._blotted(line.rstrip()))
                echo(lines[-1])
        return Answer(child.returncode, "", "\n".join(lines))

    @contextlib.contextmanager
    def piped(self, *arguments: str) -> Iterator[Pipes]:
        """Run ``docker`` for the block, which writes to its input or reads its output; an error there ends it at once.

        Raises:
            StackError: it fails.
        """
        with tempfile.TemporaryFile() as errors:
            child = self._started(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
            pipes = Pipes(cast("IO[bytes]", child.stdin), cast("IO[bytes]", child.stdout))
            with child:
                try:
                    yield pipes
                    child.communicate()
                except BrokenPipeError:  # it has ended early; its own message says why
                    with contextlib.suppress(OSError):
                        pipes.input.close()
                except BaseException:
                    child.kill()
                    with contextlib.suppress(OSError):  # what it had not read yet
                        pipes.input.close()
                    raise
            errors.seek(0)
            answer = Answer(child.returncode, "", self._blotted(errors.read().decode("utf-8", "replace")))
            if answer.code != 0:
                raise StackError(f"docker {' '.join(arguments[:2])} failed: {answer.last_error}")

    def stack(self) -> Stack:
        """The configuration that docker compose resolves.

        Raises:
            StackError: docker compose refuses a file or a variable.
        """
        answer = self.run("compose", "config", "--format", "json")
        if answer.code == 0:
            return Stack(json.loads(answer.output))
        if "no configuration file" in answer.errors:
            raise StackError(f"there is no docker-compose.yml in {self._folder}; run this in a complete checkout")
        wrong_line = re.search(r"\.env: line (\d+)", answer.errors)
        if wrong_line is not None:
            # Without the rest, which quotes the line and may contain a secret.
            where = f".env, line {wrong_line.group(1)}"
            raise StackError(f"docker compose cannot read {where}: write NAME=value, and close every quote")
        raise StackError(f"docker compose refuses docker-compose.yml or .env: {answer.last_error}")

    def running_services(self) -> set[str]:
        """The stack's services with a container that is running or restarting."""
        output = self.checked("compose", "ps", "--format", "json")
        # One object per line, from Compose 2.21 on.
        return {str(json.loads(line)["Service"]) for line in output.splitlines() if line.strip()}

    def _started(self, arguments: tuple[str, ...], **options: Any) -> subprocess.Popen[Any]:
        try:
            return subprocess.Popen(  # noqa: S603 - the arguments are this package's own
                ["docker", *arguments],  # noqa: S607 - from the PATH, as the user runs it
                cwd=self._folder,
                env=self._environment,
                **options,
            )
        except OSError as error:
            raise self._no_program(error) from error

    def _blotted(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _no_program(self, error: OSError) -> StackError:
        if isinstance(error, FileNotFoundError):
            return StackError(
                "there is no docker program on the PATH; install Docker: https://docs.docker.com/get-docker/"
            )
        return StackError(f"cannot run docker ({error.strerror}); repair or reinstall it")


@contextlib.contextmanager
def _ended_once(hopeless: Callable[[], bool], child: subprocess.Popen[str]) -> Iterator[None]:
    """End the child once ``hopeless`` returns true, or at the latest when the block ends."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_SECONDS_BETWEEN_LOOKS):
            if hopeless():
                child.terminate()
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    except BaseException:
        child.terminate()
        raise
    finally:
        over.set()
        watcher.join()
