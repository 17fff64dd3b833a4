"""The containers that a backup needs: those that are missing exist for its time, and MySQL runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from src.services.stack.compose_config import Stack
from src.services.stack.containers import (
    RUNNING,
    Container,
    all_containers,
    containers,
    create,
    networks,
    remove,
    start_mysql,
    stop_mysql,
)
from src.services.stack.docker_cli import Docker
from src.services.stack.errors import StackError

# MySQL is started here, and a training by a monitor that ran before.
_MAY_START = ("mysql", "train-model")


class NeededContainers:
    """Creates containers of these services and starts MySQL, and undoes both."""

    def __init__(self, docker: Docker, stack: Stack, services: list[str], say: Callable[[str], object]) -> None:
        self._docker = docker
        self._stack = stack
        self._services = services
        self._say = say
        self._made: set[str] = set()
        self._made_networks: set[str] = set()
        self._started_mysql = False

    @contextlib.contextmanager
    def present(self, before: dict[str, Container]) -> Iterator[None]:
        """Have them for the block; ``before`` are the containers by service. Raises StackError."""
        try:
            missing = [service for service in self._services if service not in before]
            if missing:
                self._create(missing)
            if "mysql" not in before or before["mysql"].state != "running":
                self._started_mysql = True
                start_mysql(self._docker)
            yield
        finally:
            try:
                self._undo(before)
            except StackError as error:
                self._say(f"warning: what the backup created or started is still there: {error}")

    def _create(self, missing: list[str]) -> None:
        """With them, docker compose creates the containers that they depend on, and networks."""
        before, before_networks = self._ids(), networks(self._docker, self._stack)
        self._say(f"==> creating containers of {', '.join(missing)}, which are removed again")
        try:
            create(self._docker, missing)
        finally:
            self._made = self._ids() - before
            self._made_networks = networks(self._docker, self._stack) - before_networks

    def _ids(self) -> set[str]:
        return {container.id for _, container in all_containers(self._docker, self._stack)}

    def _undo(self, before: dict[str, Container]) -> None:
        """Where the stack was started meanwhile, all of it is in use."""
        if not (self._made or self._started_mysql) or self._is_started(before):
            return
        if self._started_mysql:
            stop_mysql(self._docker)
        here = [container for _, container in all_containers(self._docker, self._stack) if container.id in self._made]
        unused = [container.id for container in here if container.state not in RUNNING]
        remove(self._docker, unused, sorted(self._made_networks) if len(unused) == len(here) else [])

    def _is_started(self, before: dict[str, Container]) -> bool:
        """Whether the stack was started meanwhile."""
        return not _running(containers(self._docker, self._stack)) <= _running(before).union(_MAY_START)


def _running(found: dict[str, Container]) -> set[str]:
    return {service for service, container in found.items() if container.state in RUNNING}
