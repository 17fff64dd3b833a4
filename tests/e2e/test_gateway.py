"""The gateway as docker-compose.scale.yml runs it, before replicas that do as told: whom it asks, and what twice."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml

from src.services.local.processes import REPOSITORY
from tests.e2e.docker_gate import docker
from tests.support.running import free_port, wait_until

pytestmark = pytest.mark.docker

TEXT = (REPOSITORY / "docker-compose.scale.yml").read_text(encoding="utf-8")
GATEWAY: dict[str, Any] = yaml.safe_load(TEXT.replace("!reset", ""))["services"]["gateway"]
CONFIG = "/usr/local/etc/haproxy/haproxy.cfg"
PYTHON_IMAGE = "python:3.13-slim-trixie"
NAMES = ("a", "b")
# Does not fit into the gateway's buffer, so that it cannot be sent again.
LONG = b"x" * 100_000


@dataclass(frozen=True)
class Replica:
    """A container that answers with its name; see gateway_replica.py."""

    id: str
    name: str

    @contextmanager
    def told(self, state: str) -> Iterator[None]:
        """`draining` or `dying` within the block."""
        docker("exec", self.id, "touch", f"/tmp/{state}")  # noqa: S108 - the container's own
        try:
            yield
        finally:
            docker("exec", self.id, "rm", f"/tmp/{state}")  # noqa: S108 - the container's own

    def seen(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in docker("logs", self.id).splitlines()]


@dataclass(frozen=True)
class Rig:
    """A gateway and its replicas."""

    client: httpx.Client
    replicas: tuple[Replica, ...]

    def predict(self, body: bytes = b"{}", **headers: str) -> httpx.Response:
        return self.client.post("/predict", content=body, headers=headers)

    def answering(self, number: int = 10) -> set[str]:
        """Who answers so many predictions; each must be answered."""
        return {self.predict().raise_for_status().text for _ in range(number)}

    def wait_until_answered_by(self, *names: str) -> None:
        wait_until(f"{names} answer", lambda: self.answering() == set(names), seconds=20)

    def seen(self, path: str) -> list[int]:
        """How many requests of this path each replica has got so far."""
        return [sum(request["path"] == path for request in replica.seen()) for replica in self.replicas]


@contextmanager
def run(*words: str) -> Iterator[str]:
    container = docker("run", "--detach", *words)
    try:
        yield container
    finally:
        docker("rm", "--force", "--volumes", container)


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    network = f"mlops-loop-gateway-{uuid4().hex[:8]}"
    script = f"--volume={REPOSITORY}/tests/e2e/gateway_replica.py:/replica.py:ro"
    port = free_port()
    with ExitStack() as stack:
        docker("network", "create", network)
        stack.callback(docker, "network", "rm", network)
        replicas = []
        for name in NAMES:
            words = (f"--network={network}", "--network-alias=inference", f"--hostname={name}", script, PYTHON_IMAGE)
            replicas.append(Replica(stack.enter_context(run(*words, "python", "/replica.py")), name))
        rights = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges:true", f"--user={GATEWAY['user']}")
        config = f"--volume={REPOSITORY}/config/gateway/haproxy.cfg:{CONFIG}:ro"
        limits = (f"--memory={GATEWAY['mem_limit']}", f"--ulimit=nofile={GATEWAY['ulimits']['nofile']}")
        words = (f"--network={network}", f"--publish=127.0.0.1:{port}:8000", *rights, *limits, config, GATEWAY["image"])
        stack.enter_context(run(*words))
        client = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20))
        rig = Rig(client, tuple(replicas))
        wait_until("the gateway finds the replicas", lambda: _answers(client) and rig.answering() == set(NAMES))
        yield rig


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").is_success
    except httpx.TransportError:
        return False


def test_prediction_that_got_no_answer_is_sent_to_another_replica(rig: Rig) -> None:
    first, _ = rig.replicas
    before = len(first.seen())
    with first.told("dying"):
        assert rig.answering() == {"b"}
        assert len(first.seen()) > before


@pytest.mark.parametrize(("path", "body"), [("/retrain", b""), ("/predict", LONG)])
def test_what_may_have_been_done_or_is_not_kept_is_not_sent_twice(rig: Rig, path: str, body: bytes) -> None:
    first, _ = rig.replicas
    before = sum(rig.seen(path))
    with first.told("dying"):
        statuses = [rig.client.post(path, content=body).status_code for _ in range(10)]
    assert set(statuses) == {200, 502}
    assert sum(rig.seen(path)) - before == len(statuses)


def test_draining_replica_gets_no_new_requests_and_fails_none(rig: Rig) -> None:
    first, _ = rig.replicas
    with first.told("draining"):
        rig.wait_until_answered_by("b")
        before = len(first.seen())
        assert rig.answering(30) == {"b"}
        assert rig.client.post("/retrain").text == "b"
        assert len(first.seen()) == before
    rig.wait_until_answered_by(*NAMES)


def test_replicas_of_which_none_is_ready_say_why_themselves(rig: Rig) -> None:
    first, second = rig.replicas
    with first.told("draining"), second.told("draining"):
        wait_until("no replica is ready", lambda: rig.client.get("/health").status_code == 503)
        assert rig.client.get("/health").text in NAMES
        # The gateway may have seen only one of them drain so far.
        wait_until("all replicas answer, as none is ready", lambda: rig.answering() == set(NAMES))
    rig.wait_until_answered_by(*NAMES)


def test_stopped_replica_costs_no_prediction_and_without_any_the_gateway_says_so(rig: Rig) -> None:
    first, second = rig.replicas
    docker("kill", first.id)
    try:
        assert rig.answering(30) == {"b"}
        docker("kill", second.id)
        try:
            # On a connection that has served before, HAProxy may hang up instead: HTTP's way to say, try again.
            answer = httpx.post(rig.client.base_url.join("/predict"), content=b"{}")
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert answer.json().keys() == {"detail", "request_id"}
        finally:
            docker("start", second.id)
    finally:
        docker("start", first.id)
    wait_until("the gateway has a replica again", lambda: _answers(rig.client))
    rig.wait_until_answered_by(*NAMES)


def test_replica_learns_who_asks_from_the_gateway_alone(rig: Rig) -> None:
    headers = {"X-Forwarded-For": "203.0.113.7"}
    name = rig.predict(**headers).raise_for_status().text
    told = rig.replicas[NAMES.index(name)].seen()[-1]["forwarded_for"]
    assert len(told) == 1
    assert "203.0.113.7" not in told[0]


def test_body_passes_whatever_its_size(rig: Rig) -> None:
    name = rig.predict(LONG * 50).raise_for_status().text
    assert rig.replicas[NAMES.index(name)].seen()[-1]["bytes"] == len(LONG) * 50
