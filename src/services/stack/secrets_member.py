"""``.env`` in a backup, encrypted in a container of the training image, which has the library for it."""

from __future__ import annotations

from collections.abc import Mapping

from src.services.stack.checkout import PASSPHRASE
from src.services.stack.compose_config import Stack
from src.services.stack.docker_cli import Docker
from src.services.stack.errors import StackError

_LEAST_CHARACTERS = 16
_CONFINED = ("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
_RUN = ("run", "--rm", "--interactive", *_CONFINED, "--memory", "512m", "--entrypoint", "python")


def passphrase_of(environment: Mapping[str, str]) -> str:
    """The passphrase for the secrets.

    Raises:
        StackError: there is none, or it is too short.
    """
    found = environment.get(PASSPHRASE, "")
    if len(found) < _LEAST_CHARACTERS or "\n" in found:
        raise StackError(
            f"SECRETS=1 needs a passphrase of at least {_LEAST_CHARACTERS} characters, in one line, in the environment "
            f"variable {PASSPHRASE}"
        )
    return found


def seal(docker: Docker, stack: Stack, text: str, passphrase: str) -> bytes:
    """The encrypted text. Raises StackError."""
    answer = _run(docker, stack, "seal", f"{passphrase}\n{text}")
    if answer is None:
        raise StackError("the training image cannot encrypt; build it again with make up")
    return answer.encode()


def unseal(docker: Docker, stack: Stack, sealed: bytes, passphrase: str) -> str:
    """The text. Raises StackError."""
    text = _run(docker, stack, "open", f"{passphrase}\n{sealed.decode('utf-8', 'replace')}")
    if text is None:
        raise StackError(f"{PASSPHRASE} is not the passphrase with which this backup was made; nothing was changed")
    return text


def _run(docker: Docker, stack: Stack, action: str, given: str) -> str | None:
    answer = docker.run(*_RUN, stack.image("train-model"), "-m", "src.training.sealed_text", action, given=given)
    return answer.output if answer.code == 0 else None
