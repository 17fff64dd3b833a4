"""The gate before the Docker socket, as Compose runs it, before a real engine: what it denies, what passes."""

import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from docker import APIClient

from src.services.local.processes import REPOSITORY
from src.services.monitor.trainer import DockerTrainer, StartOutcome
from tests.e2e.docker_requests import (
    ALLOWED,
    DENIED,
    LABEL,
    OTHER,
    OWN_LABEL,
    PING,
    PLANTED,
    START_OTHER,
    TARGET,
    Request,
    http,
)
from tests.support.running import wait_until

pytestmark = pytest.mark.docker

SERVICE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]["docker-proxy"]
IMAGE: str = SERVICE["image"]
CONFIG = "/usr/local/etc/haproxy/haproxy.cfg"
MOUNT_CONFIG = ("--volume", f"{REPOSITORY}/config/docker-proxy/haproxy.cfg:{CONFIG}:ro")
SOCKET = Path("/var/run/docker.sock")
# HAProxy's own words for its own denials; Go's, with which the engine answers a malformed request, differ.
DENIALS = {
    403: b"HTTP/1.1 403 Forbidden\r\n",
    400: b"HTTP/1.1 400 Bad request\r\n",
    408: b"HTTP/1.1 408 Request Time-out\r\n",
    422: b"HTTP/1.1 422 Unprocessable Content\r\n",
}


def docker(*words: str, check: bool = True) -> str:
    """What a docker command prints on both streams."""
    done = subprocess.run(["docker", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert not check or done.returncode == 0, done.stdout
    return done.stdout.strip()


def inspect(container: str, field: str) -> str:
    return docker("inspect", "--format", f"{{{{.{field}}}}}", container)


@dataclass(frozen=True)
class Gate:
    """A running proxy, with a container that it may start and one that it may not."""

    proxy: str
    target: str
    other: str
    since: str

    @property
    def port(self) -> int:
        return int(docker("port", self.proxy, "2375/tcp").rpartition(":")[2])

    def send(self, raw: bytes) -> bytes:
        """All that comes back until the proxy closes. Fails where it does not within 15 s."""
        answer = b""
        # Closing with part of a request unread resets the connection.
        with suppress(ConnectionError), socket.create_connection(("127.0.0.1", self.port), timeout=15) as connection:
            connection.sendall(raw)
            while part := connection.recv(65536):
                answer += part
        return answer

    def events(self, container: str) -> list[str]:
        """Everything that the engine did to a container."""
        until = f"{time.time():.6f}"
        filters = ("--filter", f"container={container}", "--format", "{{.Action}}")
        return docker("events", "--since", self.since, "--until", until, *filters).split("\n")


def statuses(answer: bytes) -> tuple[int, ...]:
    return tuple(int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer))


def is_denied(request: Request, answer: bytes) -> bool:
    """Whether the engine answered what it may and nothing more, and the rest was denied or left unanswered."""
    if request.engine_answers:
        return statuses(answer) == request.engine_answers
    ours = statuses(answer)
    return not answer or (
        len(ours) == 1 and answer.startswith(DENIALS.get(ours[0], b"none")) and b"api-version" not in answer.lower()
    )


@contextmanager
def removed_afterwards() -> Iterator[Callable[..., str]]:
    """A docker command that makes something and returns its id, by which it is removed again."""
    with ExitStack() as stack:

        def made(*words: str) -> str:
            thing = docker(*words).split("\n")[-1]
            removal = ("network", "rm") if words[0] == "network" else ("rm", "--force", "--volumes")
            stack.callback(docker, *removal, thing, check=False)
            return thing

        stack.callback(remove_planted)
        yield made


@contextmanager
def run_gate() -> Iterator[Gate]:
    """The proxy with a container that it may start and one that it may not."""
    since = f"{time.time():.6f}"
    with removed_afterwards() as made:
        idle = ("--label", OWN_LABEL, "--network", "none", "--entrypoint", "sleep", IMAGE, "infinity")
        target = made("create", "--name", TARGET, *idle)
        other = made("create", "--name", OTHER, *idle)
        network = made("network", "create", f"{TARGET}-network")
        with another_proxy(Gate("", target, other, since), network=network) as gate:
            yield gate


@contextmanager
def another_proxy(
    gate: Gate, *, name: str = TARGET, mount: str = f"{SOCKET}:{SOCKET}", network: str = "bridge"
) -> Iterator[Gate]:
    """A proxy before the same containers, as docker-compose.yml hardens it."""
    hardening = (f"--user={SERVICE['user']}", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
    place = (f"--network={network}", "--publish=127.0.0.1::2375", f"--volume={mount}")
    with removed_afterwards() as made:
        proxy = made("run", "--detach", f"--env=TRAIN_CONTAINER={name}", *hardening, *place, *MOUNT_CONFIG, IMAGE)
        there = replace(gate, proxy=proxy)
        wait_until("the proxy answers", lambda: there.send(PING), seconds=15)
        yield there


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


def remove_planted() -> None:
    for removal in planted():
        docker(*removal, check=False)


@pytest.fixture(scope="module")
def gate() -> Iterator[Gate]:
    with run_gate() as gate:
        yield gate


@pytest.mark.parametrize("sent", DENIED, ids=lambda request: request.label)
def test_gate_denies(gate: Gate, sent: Request) -> None:
    answer = gate.send(sent.raw)
    assert is_denied(sent, answer), answer[:500]


def test_gate_lets_nothing_happen_but_the_allowed_start(gate: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    denied = sum(is_denied(request, gate.send(request.raw)) for request in DENIED)
    assert gate.events(gate.other) == ["create"]
    assert gate.events(gate.target) == ["create"]
    assert inspect(gate.other, "State.Status") == inspect(gate.target, "State.Status") == "created"
    assert inspect(gate.other, "Name") == f"/{OTHER}"
    assert planted() == []

    answers = [statuses(gate.send(request.raw)) for request in ALLOWED]
    assert answers == [request.engine_answers for request in ALLOWED]
    assert gate.events(gate.other) == ["create"]
    assert gate.events(gate.target) == ["create", "start"]
    assert inspect(gate.target, "State.Status") == "running"
    with capsys.disabled():
        sys.stdout.write(f" {denied} of {len(DENIED)} denied, {len(answers)} of {len(ALLOWED)} allowed ")
    assert denied == len(DENIED) >= 40
    assert len(ALLOWED) >= 5


def test_gate_passes_on_nothing_but_the_allowed_requests(gate: Gate) -> None:
    for request in (*DENIED, *ALLOWED):
        gate.send(request.raw)
    lines = docker("logs", gate.proxy).splitlines()
    passed = {line.partition(" method=")[2] for line in lines if " server=docker " in line}
    urls = [f"{version}/containers/{rest}" for version in ("", "/v1.44") for rest in (f"{TARGET}/start", "json")]
    allowed = {f'"{"GET" if url.endswith("json") else "POST"}" url="{url}"' for url in urls}
    assert {line.partition("?")[0].rstrip('"') for line in passed} == {line.rstrip('"') for line in allowed}


def test_denial_says_what_is_allowed_and_is_logged(gate: Gate) -> None:
    answer = gate.send(START_OTHER)
    assert answer.endswith(
        b"\r\n\r\ndenied: only GET /_ping, GET /containers/json and "
        b"POST /containers/%s/start pass, without a body\n" % TARGET.encode()
    )
    log = docker("logs", gate.proxy)
    assert f'status=403 server=<NOSRV> state=PR-- ms=0 method="POST" url="/v1.44/containers/{OTHER}/start"' in log
    assert '"/_ping"' not in {line.partition(" url=")[2] for line in log.splitlines() if "status=200" in line}


def test_log_line_cannot_be_forged(gate: Gate) -> None:
    gate.send(b'GET /a"url="b\\ HTTP/1.1\r\nHost: docker\r\n\r\n')
    assert r'url="/a#22url=#22b\\"' in docker("logs", gate.proxy)


def test_monitor_starts_its_container_through_the_gate(gate: Gate) -> None:
    docker("kill", gate.target, check=False)
    docker("wait", gate.target)
    trainer = DockerTrainer(f"tcp://127.0.0.1:{gate.port}", TARGET)
    try:
        assert not trainer.is_running()
        assert trainer.start() is StartOutcome.STARTED
        assert trainer.is_running()
        assert trainer.start() is StartOutcome.ALREADY_RUNNING
    finally:
        trainer.close()


def test_docker_sdk_pings_lists_and_starts_through_the_gate(gate: Gate) -> None:
    client = APIClient(f"tcp://127.0.0.1:{gate.port}", version="1.44", timeout=15)
    client.trust_env = False
    try:
        assert client.ping()
        client.start(TARGET)
        running = client.containers(filters={"name": f"^/{TARGET}$", "status": ["running"]})
        assert [container["Id"] for container in running] == [gate.target]
    finally:
        client.close()


def test_engine_that_misses_the_container_says_so(gate: Gate) -> None:
    with another_proxy(gate, name=f"{TARGET}-gone") as there:
        answer = there.send(http(f"POST /v1.44/containers/{TARGET}-gone/start"))
    assert statuses(answer) == (404,)
    assert b"No such container" in answer


def test_compose_healthcheck_needs_an_engine_that_answers(gate: Gate) -> None:
    kind, *check = [word.replace("$$", "$") for word in SERVICE["healthcheck"]["test"]]
    assert kind == "CMD"
    docker("exec", gate.proxy, *check)
    # A socket that nobody listens on any more, as a restarted engine leaves it behind.
    with socket.socket(socket.AF_UNIX) as stale, TemporaryDirectory() as folder:
        stale.bind(f"{folder}/docker.sock")
        with another_proxy(gate, mount=f"{folder}/docker.sock:{SOCKET}") as cut_off:
            assert statuses(cut_off.send(PING)) == (503,)
            with pytest.raises(AssertionError):
                docker("exec", cut_off.proxy, *check)


def test_haproxy_accepts_the_configuration_without_warnings() -> None:
    check = ("haproxy", "-c", "-dW", "-V", "-f", CONFIG)
    assert docker("run", "--rm", "--env=TRAIN_CONTAINER=some-name", *MOUNT_CONFIG, IMAGE, *check).endswith("is valid")


@pytest.mark.parametrize("name", ["", "a/../b", "a%2fb", "a?b"])
def test_haproxy_does_not_start_without_a_container_name(name: str) -> None:
    check = ("haproxy", "-c", "-f", CONFIG)
    said = docker("run", "--rm", f"--env=TRAIN_CONTAINER={name}", *MOUNT_CONFIG, IMAGE, *check, check=False)
    assert "Error(s) found in configuration file" in said
    assert "TRAIN_CONTAINER is" in said
