"""``.env`` in a backup, encrypted in a container of the training image, which has the library for it."""

from __future__ import annotations

from collections.abc import Mapping

from src.services.stack.checkout import PASSPHRASE
from src.services.stack.compose_config import Stack
from src.services.stack.docker_cli import Answer, Docker
from src.services.stack.errors import StackError

_MIN_CHARACTERS = 16
_CONFINED = ("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
# Docker would keep the output, which is .env, in a log as long as the container exists.
_UNLOGGED = ("--log-driver", "none")
_RUN = ("run", "--rm", "--interactive", *_UNLOGGED, *_CONFINED, "--memory", "512m", "--entrypoint", "python")
# That of src.training.sealed_text, which cannot be imported here.
CANNOT_OPEN = 3


def passphrase_of(environment: Mapping[str, str]) -> str:
    """The passphrase for the secrets.

    Raises:
        StackError: there is none, or it is too short.
    """
    found = environment.get(PASSPHRASE, "")
    if len(found) < _MIN_CHARACTERS or "\n" in found:
        raise StackError(
            f"SECRETS=1 needs a passphrase of at least {_MIN_CHARACTERS} characters, in one line, in the environment "
            f"variable {PASSPHRASE}"
        )
    return found


def seal(docker: Docker, stack: Stack, text: str, passphrase: str) -> bytes:
    """The encrypted text. Raises StackError."""
    answer = _run(docker, stack, "seal", f"{passphrase}\n{text}")
    if answer.code != 0:
        raise StackError(f"the training image cannot encrypt .env; make up builds it again: {answer.last_error}")
    return answer.output.encode()


def unseal(docker: Docker, stack: Stack, sealed: bytes, passphrase: str) -> str:
    """The text. Raises StackError."""
    answer = _run(docker, stack, "open", f"{passphrase}\n{sealed.decode('utf-8', 'replace')}")
    if answer.code == CANNOT_OPEN:
        raise StackError(f"{PASSPHRASE} is not the passphrase with which this backup was made; nothing was changed")
    if answer.code != 0:
        raise StackError(f"the training image cannot decrypt .env; nothing was changed: {answer.last_error}")
    return answer.output


def _run(docker: Docker, stack: Stack, action: str, given: str) -> Answer:
    return docker.run(*_RUN, stack.image("train-model"), "-m", "src.training.sealed_text", action, given=given)
