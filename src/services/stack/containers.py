"""The containers and volumes of a project, as Docker lists them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from src.services.stack.compose_config import Stack
from src.services.stack.docker_cli import Docker
from src.services.stack.errors import StackError

RUNNING = ("running", "restarting", "paused")
_LABEL = "com.docker.compose"
_FORMAT = f'{{{{.ID}}}}\t{{{{.State}}}}\t{{{{.Label "{_LABEL}.service"}}}}'
# Compose waits so long for a healthy container.
_WAIT_SECONDS = 600


@dataclass(frozen=True)
class Container:
    """A service's container: its id and its state, such as ``running`` or ``exited``."""

    id: str
    state: str


def containers(docker: Docker, stack: Stack) -> dict[str, Container]:
    """The project's containers by service, without one-off containers; of several replicas, one."""
    return dict(all_containers(docker, stack))


def all_containers(docker: Docker, stack: Stack) -> list[tuple[str, Container]]:
    """The project's containers, each with its service, without one-off containers. Raises StackError."""
    filters = ("--filter", f"label={_LABEL}.project={stack.name}", "--filter", f"label={_LABEL}.oneoff=False")
    output = docker.checked("ps", "--all", "--no-trunc", *filters, "--format", _FORMAT)
    rows = [line.split("\t") for line in output.splitlines()]
    return [(service, Container(container_id, state)) for container_id, state, service in rows]


def networks(docker: Docker, stack: Stack) -> set[str]:
    """The ids of the project's networks. Raises StackError."""
    label = f"label={_LABEL}.project={stack.name}"
    return set(docker.checked("network", "ls", "--quiet", "--no-trunc", "--filter", label).split())


def existing_volumes(docker: Docker, stack: Stack) -> list[str]:
    """The project's volumes that exist. Raises StackError."""
    known = set(docker.checked("volume", "ls", "--quiet").split())
    return sorted(known.intersection(stack.all_volumes()))


def build(docker: Docker, *services: str) -> None:
    """Build the images of these services, or of all. Raises StackError."""
    _compose(docker, "build", *services)


def create(docker: Docker, services: list[str]) -> None:
    """Create the containers of these services, and their volumes, without starting anything.

    Raises:
        StackError: docker compose fails.
    """
    _compose(docker, "up", "--no-start", "--no-recreate", "--quiet-pull", *services)


def start_mysql(docker: Docker) -> None:
    """Start MySQL and wait until it is healthy. Raises StackError."""
    wait = ("--wait", "--wait-timeout", str(_WAIT_SECONDS))
    _compose(docker, "up", "--detach", "--no-recreate", *wait, "--quiet-pull", "mysql")


def stop_mysql(docker: Docker) -> None:
    """Stop MySQL. Raises StackError."""
    docker.checked("compose", "stop", "mysql")


def remove(docker: Docker, container_ids: list[str], network_ids: list[str]) -> None:
    """Remove containers that do not run, then networks; volumes stay. Raises StackError."""
    if container_ids:
        docker.checked("rm", *container_ids)
    if network_ids:
        docker.checked("network", "rm", *network_ids)


@contextlib.contextmanager
def at_rest(docker: Docker, container: Container) -> Iterator[None]:
    """Pause a container for the block, so that its files do not change; ends the pause of a killed run too."""
    if container.state not in {"running", "paused"}:
        yield
        return
    docker.run("pause", container.id)
    try:
        yield
    finally:
        docker.run("unpause", container.id)


def _compose(docker: Docker, *command: str) -> None:
    """Run docker compose for as long as it takes."""
    answer = docker.follow("compose", "--ansi", "never", *command, echo=lambda _: None, hopeless=lambda: False)
    if answer.code != 0:
        raise StackError(f"docker compose {command[0]} failed: {answer.last_error}")
