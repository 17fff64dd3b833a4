"""Checks that the stack's ports are free, before docker compose fails half-way, and proposes others."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Mapping

from src.services.stack.compose_config import PROJECT, TLS_PROXY, Port, Stack
from src.services.stack.docker_cli import Docker
from src.services.stack.errors import StackError

_APART = 100  # between the ports of two stacks; some of one stack are neighbours


def beside(stack: Stack) -> dict[str, str]:
    """Variables for a second stack on this machine: another name, and other ports."""
    return {PROJECT: f"{stack.name}-restored", **{port.variable: str(port.number + _APART) for port in stack.ports()}}


def check_ports(docker: Docker, ports: Iterable[Port], environment: Mapping[str, str]) -> None:
    """Refuse to start if a port of the stack is in use.

    Raises:
        StackError: names every such port, its container if Docker knows it, and the variable that chooses another.
    """
    if not environment.get("DOCKER_HOST", "unix:").startswith(("unix:", "npipe:")):
        return  # the ports are on another machine
    ours = docker.running_services()
    taken = [port for port in ports if port.service not in ours and _is_taken(port)]
    if taken:
        listed = ", ".join(f"{port.number} ({port.service}{_holder(docker, port)})" for port in taken)
        raise StackError(taken_message(listed, taken[0]))


def taken_message(listed: str, example: Port) -> str:
    """The message about ports that are in use."""
    another = f"{example.variable}={example.number + 1}"
    return f"port {listed} is taken; stop what listens there or choose another in .env, such as {another}"


def _is_taken(port: Port) -> bool:
    host = port.host or "0.0.0.0"  # noqa: S104 - the address that Docker binds
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: a port in TIME_WAIT after a stop counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port.number))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise StackError(no_such_address(host, port.service)) from error
            # A low port that only root may bind is accepted, because Docker binds it.
            return error.errno == errno.EADDRINUSE
    return False


def no_such_address(host: str, service: str = "") -> str:
    """The message about an address that this machine does not have, and that a port of the service is bound to."""
    variable = "TLS_BIND_ADDRESS" if service == TLS_PROXY else "BIND_ADDRESS"
    return f"{host} is not an address of this machine; correct {variable} in .env"


def _holder(docker: Docker, port: Port) -> str:
    answer = docker.run("ps", "--filter", f"publish={port.number}", "--format", "{{.Names}}")
    names = " ".join(answer.output.split())
    return f", held by the container {names}" if answer.code == 0 and names else ""
