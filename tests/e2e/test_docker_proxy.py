"""The gate before the Docker socket, as Compose runs it, before a real engine: what it denies, what passes."""

import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import pytest
from docker import APIClient

from src.services.monitor.trainer import DockerTrainer, StartOutcome
from tests.e2e.docker_gate import (
    CONFIG,
    IMAGE,
    MOUNT_CONFIG,
    SERVICE,
    Gate,
    Proxy,
    docker,
    is_denied,
    planted,
    run_gate,
    run_proxy,
    statuses,
)
from tests.e2e.docker_requests import ALLOWED, DENIED, LIST, OTHER, PING, TARGET, Request, http
from tests.support.running import wait_until

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def gate() -> Iterator[Gate]:
    with run_gate() as gate:
        yield gate


@pytest.mark.parametrize("sent", DENIED, ids=lambda request: request.label)
def test_gate_denies(gate: Gate, sent: Request) -> None:
    answer = gate.proxy.send(sent.raw)
    assert is_denied(sent, answer), answer[:500]


def test_gate_lets_nothing_happen_but_the_allowed_start(gate: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    denied = sum(is_denied(request, gate.proxy.send(request.raw)) for request in DENIED)
    assert gate.other.events() == ["create"]
    assert gate.target.events() == ["create"]
    assert gate.other.state() == (OTHER, "created")
    assert gate.target.state() == (TARGET, "created")
    assert planted() == []

    answers = [statuses(gate.proxy.send(request.raw)) for request in ALLOWED]
    assert answers == [request.engine_answers for request in ALLOWED]
    assert gate.other.events() == ["create"]
    assert gate.target.events() == ["create", "start"]
    assert gate.other.state() == (OTHER, "created")
    assert gate.target.state() == (TARGET, "running")
    with capsys.disabled():
        sys.stdout.write(f" {denied} of {len(DENIED)} denied, {len(answers)} of {len(ALLOWED)} allowed ")
    assert denied == len(DENIED) >= 40
    assert len(ALLOWED) >= 5


def test_engine_sees_no_other_request_that_changes_anything(gate: Gate) -> None:
    for sent in (*DENIED, *ALLOWED):
        gate.proxy.send(sent.raw)
    gate.proxy.send(http("GET /the-end"))
    logged(gate.proxy, 'url="/the-end"')
    # Pings and lists are not logged.
    passed = {line.partition(" method=")[2] for line in gate.proxy.log() if " server=docker " in line}
    assert passed == {f'"POST" url="{version}/containers/{TARGET}/start"' for version in ("", "/v1.44")}


def test_denial_says_what_is_allowed_and_is_logged(gate: Gate) -> None:
    answer = gate.proxy.send(http("DELETE /this"))
    allowed = f"only GET /_ping, GET /containers/json and POST /containers/{TARGET}/start pass, without a body"
    assert answer.endswith(f"\r\n\r\ndenied: {allowed}\n".encode())
    assert " status=403 server=<NOSRV> " in logged(gate.proxy, ' method="DELETE" url="/this"')


def test_log_escapes_what_the_client_says_and_leaves_routine_out(gate: Gate) -> None:
    gate.proxy.send(PING)
    gate.proxy.send(LIST)
    gate.proxy.send(http('GET /a"url="b\\'))
    logged(gate.proxy, r' method="GET" url="/a#22url=#22b\\"')
    assert not [line for line in gate.proxy.log() if " status=200 " in line]


def logged(proxy: Proxy, ending: str) -> str:
    """The log's line with this ending, once it is there."""
    lines = wait_until(f"logged: {ending}", lambda: [line for line in proxy.log() if line.endswith(ending)])
    return lines[0]


def test_monitor_starts_its_container_through_the_gate(gate: Gate) -> None:
    docker("kill", gate.target.id, check=False)
    docker("wait", gate.target.id)
    trainer = DockerTrainer(f"tcp://127.0.0.1:{gate.proxy.port}", TARGET)
    try:
        assert not trainer.is_running()
        assert trainer.start() is StartOutcome.STARTED
        assert trainer.is_running()
        assert trainer.start() is StartOutcome.ALREADY_RUNNING
    finally:
        trainer.close()


def test_docker_sdk_pings_lists_and_starts_through_the_gate(gate: Gate) -> None:
    client = APIClient(f"tcp://127.0.0.1:{gate.proxy.port}", version="1.44", timeout=15)
    client.trust_env = False
    try:
        assert client.ping()
        client.start(TARGET)
        running = client.containers(filters={"name": f"^/{TARGET}$", "status": ["running"]})
        assert [container["Id"] for container in running] == [gate.target.id]
    finally:
        client.close()


def test_gate_passes_on_that_the_container_is_missing() -> None:
    with run_proxy(f"{TARGET}-missing", name=f"{TARGET}-gone") as proxy:
        answer = proxy.send(http(f"POST /v1.44/containers/{TARGET}-gone/start"))
    assert statuses(answer) == (404,)
    assert b"No such container" in answer


def test_engine_gets_a_request_without_the_clients_headers() -> None:
    sent = http(f"POST /containers/{TARGET}/start", "X-Registry-Auth: x", "Cookie: x", "Content-Length: 0")
    with unix_socket() as (engine, file), run_proxy(f"{TARGET}-plain", socket_file=file) as proxy:
        engine.listen()
        engine.settimeout(15)
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(proxy.send, sent)
            with engine.accept()[0] as connection:
                received = connection.recv(65536)
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            assert statuses(answer.result()) == (204,)
    head = f"POST /containers/{TARGET}/start HTTP/1.1\r\nhost: docker\r\n"
    assert received == f"{head}content-length: 0\r\nconnection: close\r\n\r\n".encode()


def test_compose_healthcheck_needs_an_engine_that_answers(gate: Gate) -> None:
    docker("exec", gate.proxy.id, *healthcheck())
    # Nobody listens on it any more, as on the one that a restarted engine leaves in a container that lives on.
    with unix_socket() as (_, file), run_proxy(f"{TARGET}-stale", socket_file=file) as proxy:
        assert statuses(proxy.send(PING)) == (503,)
        with pytest.raises(AssertionError):
            docker("exec", proxy.id, *healthcheck())
        # Only a new start mounts the file that is there now.
        docker("wait", proxy.id)


def healthcheck() -> list[str]:
    """The command with which docker-compose.yml checks the proxy."""
    kind, *command = SERVICE["healthcheck"]["test"]
    assert kind == "CMD"
    return [word.replace("$$", "$") for word in command]


@contextmanager
def unix_socket() -> Iterator[tuple[socket.socket, str]]:
    """A socket that does not listen yet, and its file."""
    with TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"{folder}/docker.sock")
        yield unix, f"{folder}/docker.sock"


def test_haproxy_accepts_the_configuration_without_warnings() -> None:
    check = ("haproxy", "-c", "-dW", "-V", "-f", CONFIG)
    assert docker("run", "--rm", "--env=TRAIN_CONTAINER=some-name", MOUNT_CONFIG, IMAGE, *check).endswith("is valid")


@pytest.mark.parametrize("name", ["", "a/../b", "a%2fb", "a?b"])
def test_haproxy_does_not_start_without_a_container_name(name: str) -> None:
    check = ("haproxy", "-c", "-f", CONFIG)
    said = docker("run", "--rm", f"--env=TRAIN_CONTAINER={name}", MOUNT_CONFIG, IMAGE, *check, check=False)
    assert "Error(s) found in configuration file" in said
    assert "TRAIN_CONTAINER is" in said
