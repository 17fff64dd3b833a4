"""Starts the gate before the Docker socket as docker-compose.yml does, and tells what came through to the engine."""

import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import yaml

from src.services.local.processes import REPOSITORY
from tests.e2e.docker_requests import LABEL, OTHER, OWN_LABEL, PING, PLANTED, TARGET, Request
from tests.support.running import wait_until

SERVICE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]["docker-proxy"]
IMAGE: str = SERVICE["image"]
CONFIG = "/usr/local/etc/haproxy/haproxy.cfg"
MOUNT_CONFIG = f"--volume={REPOSITORY}/config/docker-proxy/haproxy.cfg:{CONFIG}:ro"
SOCKET = "/var/run/docker.sock"
# HAProxy's own words for its denials. Those of Go, with which the engine answers malformed requests, differ.
DENIALS = (
    b"HTTP/1.1 400 Bad request\r\n",
    b"HTTP/1.1 403 Forbidden\r\n",
    b"HTTP/1.1 408 Request Time-out\r\n",
    b"HTTP/1.1 422 Unprocessable Content\r\n",
)


def docker(*words: str, check: bool = True) -> str:
    """What a docker command prints, on both streams."""
    done = subprocess.run(["docker", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert not check or done.returncode == 0, done.stdout
    return done.stdout.strip()


def statuses(answer: bytes) -> tuple[int, ...]:
    return tuple(int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer))


def is_denied(request: Request, answer: bytes) -> bool:
    """Whether the engine answered what it may and nothing more; the rest was denied, or left without an answer."""
    if request.engine_answers:
        return statuses(answer) == request.engine_answers
    is_ours = answer.startswith(DENIALS) and len(statuses(answer)) == 1 and b"api-version" not in answer.lower()
    return is_ours or not answer


@dataclass(frozen=True)
class Proxy:
    """A running proxy, by its container's id and its port on the host."""

    id: str
    port: int

    def send(self, raw: bytes) -> bytes:
        """All that comes back until the proxy closes. Fails where it has not within 15 s."""
        answer = b""
        # Closing with part of a request unread resets the connection.
        with suppress(ConnectionError), socket.create_connection(("127.0.0.1", self.port), timeout=15) as connection:
            connection.sendall(raw)
            while part := connection.recv(65536):
                answer += part
        return answer

    def log(self) -> list[str]:
        return docker("logs", self.id).splitlines()


@dataclass(frozen=True)
class Idle:
    """A container that was created and not started."""

    id: str
    since: float

    def events(self) -> list[str]:
        """All that the engine has done with it."""
        period = ("--since", f"{self.since:.6f}", "--until", f"{time.time():.6f}")
        return docker("events", *period, "--filter", f"container={self.id}", "--format", "{{.Action}}").split("\n")

    def state(self) -> tuple[str, str]:
        """Its name and status."""
        name, status = docker("inspect", "--format", "{{.Name}} {{.State.Status}}", self.id).split()
        return name.removeprefix("/"), status


@dataclass(frozen=True)
class Gate:
    """A proxy, the container that it may start, and one that it may not."""

    proxy: Proxy
    target: Idle
    other: Idle


@contextmanager
def run_proxy(network: str, *, name: str = TARGET, socket_file: str = SOCKET) -> Iterator[Proxy]:
    """Run the proxy hardened as Compose runs it; it and its network are removed by their ids."""
    with ExitStack() as stack:
        network = _made(stack.callback, ("network", "rm"), "network", "create", network)
        hardening = (f"--user={SERVICE['user']}", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
        place = (f"--network={network}", "--publish=127.0.0.1::2375", f"--volume={socket_file}:{SOCKET}", MOUNT_CONFIG)
        command = ("run", "--detach", f"--env=TRAIN_CONTAINER={name}", *hardening, *place, IMAGE)
        container = _made(stack.callback, ("rm", "--force", "--volumes"), *command)
        proxy = Proxy(container, int(docker("port", container, "2375/tcp").rpartition(":")[2]))
        wait_until("the proxy answers", lambda: proxy.send(PING), seconds=15)
        yield proxy


@contextmanager
def run_gate() -> Iterator[Gate]:
    """Run a proxy beside two idle containers; whatever a request may have planted is removed too."""
    since = time.time()
    with ExitStack() as stack:
        stack.callback(lambda: [docker(*removal, check=False) for removal in planted()])
        command = ("--label", OWN_LABEL, "--network=none", "--entrypoint=sleep", IMAGE, "infinity")
        target, other = (
            Idle(_made(stack.callback, ("rm", "--force"), "create", "--name", name, *command), since)
            for name in (TARGET, OTHER)
        )
        yield Gate(stack.enter_context(run_proxy(f"{TARGET}-network")), target, other)


def planted() -> list[tuple[str, ...]]:
    """What denied requests have made all the same, each as the docker command that removes it."""
    label = ("--filter", f"label={LABEL}")
    listings = {
        ("rm", "--force"): ("ps", "--all", "--quiet", *label),
        ("volume", "rm"): ("volume", "ls", "--quiet", *label),
        ("network", "rm"): ("network", "ls", "--quiet", *label),
        ("image", "rm"): ("images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", f"reference={PLANTED}*"),
    }
    return [(*removal, thing) for removal, listing in listings.items() for thing in docker(*listing).split()]


def _made(at_exit: Callable[..., object], removal: tuple[str, ...], *command: str) -> str:
    thing = docker(*command).split("\n")[-1]
    at_exit(docker, *removal, thing, check=False)
    return thing
