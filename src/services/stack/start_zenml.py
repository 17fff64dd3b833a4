"""Starts the ZenML server with docker compose; on failure, the error says why in one line."""

from __future__ import annotations

import re
from collections.abc import Callable

from src.services.stack.compose_config import Stack
from src.services.stack.docker_cli import Answer, Docker
from src.services.stack.errors import StackError
from src.services.stack.ports import no_such_address, taken_message

# Longer than the healthchecks take: docker compose stops waiting when one of them fails.
_WAIT_SECONDS = 600
_UP = ("compose", "--ansi", "never", "up", "--detach", "--wait", "--wait-timeout", str(_WAIT_SECONDS), "--quiet-pull")
# A variable of the container, so that the password is not in a command line.
_ASK_AS_MLFLOW = 'MYSQL_PWD="$MLFLOW_DB_PASSWORD" mysql --host=127.0.0.1 --user=mlflow --execute="SELECT 1" mlflow'
_DENIED = "Access denied for user"
_CHANGED = "that was made with other passwords than .env has now;"


def start_zenml(docker: Docker, stack: Stack, echo: Callable[[str], None]) -> None:
    """Bring up ``zenml`` and the ``mysql`` it needs, and wait until both are healthy.

    Raises:
        StackError: the message says why.
    """

    def show(line: str) -> None:
        if line:
            echo(f"    {line.lstrip()}")

    # A refused password would fail the healthcheck only after its start period of minutes, so it is detected here.
    answer = docker.follow(*_UP, "zenml", echo=show, hopeless=lambda: _passwords_differ(docker))
    if answer.code != 0:
        raise StackError(_why(docker, stack, answer))
    # ZenML has logged in to MySQL; MLflow does with the next docker compose up, with its own password.
    if _DENIED in docker.run("compose", "exec", "-T", "mysql", "sh", "-c", _ASK_AS_MLFLOW).errors:
        raise StackError(differing_passwords(stack, _CHANGED))


def differing_passwords(stack: Stack, why: str) -> str:
    """The message about a database with other passwords than those in .env."""
    return (
        f"the volume {' and '.join(stack.volumes('mysql'))} holds a database {why} put the old .env back, "
        f"or delete the database with all runs and models: {stack.deletion}"
    )


def _why(docker: Docker, stack: Stack, answer: Answer) -> str:
    for pattern, explain in _CAUSES.items():
        if re.search(pattern, answer.errors):
            return explain(stack, answer)
    if _passwords_differ(docker):
        return differing_passwords(stack, _CHANGED)
    if re.search(r"unhealthy|exited|not running|deadline exceeded|timeout", answer.errors):
        service = "mysql" if re.search(r"mysql-\d+ (is unhealthy|exited|Error)", answer.errors) else "zenml"
        return f"{service} did not become healthy; to see why: docker compose logs {service}"
    return f"docker compose could not start zenml: {answer.last_error}"


def _passwords_differ(docker: Docker) -> bool:
    """Whether MySQL refuses ZenML's password, or its healthcheck's."""
    containers = docker.run("compose", "ps", "--all", "--quiet", "mysql", "zenml").output.split()
    if not containers:
        return False
    checks = docker.run("inspect", "--format", "{{json .State.Health}}", *containers)
    logs = docker.run("compose", "logs", "--no-color", "--tail", "200", "zenml")
    return _DENIED in checks.output or _DENIED in logs.output


def _port_taken(stack: Stack, answer: Answer) -> str:
    ports = {str(port.number): port for port in stack.ports()}
    for number in re.findall(r":(\d+)\b", answer.errors):
        if number in ports:
            return taken_message(f"{number} ({ports[number].service})", ports[number])
    return f"a port of the stack is taken; stop what listens there or choose another in .env: {answer.last_error}"


def _no_address(_: Stack, answer: Answer) -> str:
    address = re.search(r"(?:bind host port for|listen tcp\d?) (\S+?):\d+", answer.errors)
    return no_such_address(address.group(1) if address else "what is to be bound")


def _no_image(_: Stack, answer: Answer) -> str:
    return f"cannot fetch an image; can Docker reach its registry? It says: {answer.last_error}"


def _disk_full(_: Stack, __: Answer) -> str:
    return "the disk is full; free some space, such as with: docker system prune"


_CAUSES: dict[str, Callable[[Stack, Answer], str]] = {
    r"port is already allocated|address already in use|ports are not available": _port_taken,
    r"cannot assign requested address": _no_address,
    r"no space left on device": _disk_full,
    r"pull access denied|manifest unknown|failed to resolve|Get \"https?://|toomanyrequests": _no_image,
}
