"""Checks Docker on this machine: a running daemon, and versions that can run the stack."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping

from src.services.stack.docker_cli import Docker
from src.services.stack.errors import StackError

# Engine 25 is the first with start_interval in healthchecks. The monitor uses this API version, too.
_OLDEST_API = (1, 44)
_OLDEST_COMPOSE = (2, 24)


def check_docker(docker: Docker, environment: Mapping[str, str]) -> str:
    """Refuse a machine that cannot run the stack; return a description of its versions.

    Raises:
        StackError: names what is missing or too old.
    """
    return f"Docker with API {_check_engine(docker)}, Compose {_check_compose(docker, environment)}"


def _check_engine(docker: Docker) -> str:
    answer = docker.run("version", "--format", "{{.Server.APIVersion}}")
    if answer.code != 0:
        raise StackError(_unreachable(answer.errors, answer.last_error))
    version = answer.output.strip()
    if _number(version) < _OLDEST_API:
        raise StackError(f"the Docker engine is too old (API {version}, needs 1.44); install Docker Engine 25 or newer")
    return version


def _unreachable(errors: str, last_error: str) -> str:
    if "permission denied" in errors.lower():
        return (
            "no permission to use Docker; run this with sudo, or join the group docker: "
            "sudo usermod -aG docker $USER, then log in again"
        )
    if "cannot connect" in errors.lower() or "docker daemon" in errors.lower():
        return (
            "the Docker daemon does not answer; start it (Docker Desktop, or: sudo systemctl start docker) "
            f"or correct DOCKER_HOST and the docker context. Docker says: {last_error}"
        )
    return f"docker cannot reach its daemon: {last_error}"


def _check_compose(docker: Docker, environment: Mapping[str, str]) -> str:
    answer = docker.run("compose", "version", "--short")
    advice = "install Docker Compose 2.24 or newer: https://docs.docker.com/compose/install/"
    if answer.code != 0:
        legacy = shutil.which("docker-compose", path=environment.get("PATH"))
        also = f" ({legacy} is the old separate program, which cannot run this stack)" if legacy else ""
        raise StackError(f"docker has no compose command{also}; {advice}")
    version = answer.output.strip().lstrip("v")
    if _number(version) < _OLDEST_COMPOSE:
        raise StackError(f"Docker Compose {version} is too old; {advice}")
    return version


def _number(version: str) -> tuple[int, ...]:
    """Major and minor of a version, ignoring the rest; empty, which counts as too old, for any other text."""
    match = re.match(r"(\d+)\.(\d+)", version)
    return tuple(int(part) for part in match.groups()) if match else ()
