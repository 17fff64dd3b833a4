"""Several replicas of inference behind the gateway: each of them works, and none is missed when it goes."""

import contextlib
import os
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support.readme import TEXT
from tests.support.running import wait_until
from tests.support.stack import Stack

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]

FILES = ("-f", "docker-compose.yml", "-f", "docker-compose.scale.yml")
(COMMAND,) = re.findall(r"^make scale REPLICAS=\d+$", TEXT, flags=re.MULTILINE)
REPLICAS = int(COMMAND.rpartition("=")[2])


@pytest.fixture(scope="module")
def scaled(stack: Stack) -> Iterator[Stack]:
    """Scaled by the README's command; afterwards the one container has its port again."""
    stack.run(*COMMAND.split())
    try:
        yield stack
    finally:
        stack.compose("up", "-d", "--wait", "--remove-orphans")
    assert stack.replicas("gateway") == []
    assert stack.unhealthy() == {}
    assert stack.predict()["prediction"] == "setosa"


@contextlib.contextmanager
def load_without_failure(stack: Stack, *, clients: int = 3) -> Iterator[None]:
    """Clients that keep their connection, and one that takes a new one for each prediction: all get their answers."""
    with contextlib.ExitStack() as running:
        counts = [running.enter_context(stack.constant_load()) for _ in range(clients)]
        counts.append(running.enter_context(stack.constant_load(connection="close")))
        yield
        before = [sum(count.values()) for count in counts]

        def all_go_on() -> bool:
            return all(sum(count.values()) > former for count, former in zip(counts, before, strict=True))

        wait_until("every client is still served", all_go_on)
    answers = sum(counts, Counter())
    assert all(answer.startswith("200 ") for answer in answers), answers


def wait_for_count(stack: Stack, series: str, number: int, *, condition: str = "") -> None:
    """Wait until as many series were scraped within three intervals, whatever Prometheus remembers of former ones."""
    query = f"last_over_time({series}[15s]) {condition}"
    wait_until(f"{query} has {number} series", lambda: len(stack.prometheus(query)) == number, seconds=90, interval=0.5)


def test_every_replica_answers_and_is_scraped(scaled: Stack) -> None:
    assert len(scaled.replicas("inference")) == REPLICAS
    with load_without_failure(scaled):
        wait_for_count(scaled, 'up{job="inference"}', REPLICAS, condition="== 1")
        answered = 'inference_http_requests_total{route="/predict",method="POST",status="200"}'
        wait_for_count(scaled, answered, REPLICAS, condition="> 0")


def test_retrain_reaches_every_replica_without_a_failed_request(scaled: Stack) -> None:
    with load_without_failure(scaled, clients=1):  # the training needs a core
        ended = scaled.wait_for_end(scaled.request_retrain())
        wait_for_count(scaled, f'inference_model_info{{version="{ended["model_version"]}"}}', REPLICAS)
    assert ended["state"] == "promoted"
    assert {scaled.predict()["model"]["version"] for _ in range(5 * REPLICAS)} == {ended["model_version"]}


@pytest.mark.skipif(os.geteuid() != 0, reason="killing a container's process from the host needs root")
def test_killed_replica_fails_no_request_and_comes_back(scaled: Stack) -> None:
    restarts = sum(replica.attrs["RestartCount"] for replica in scaled.replicas("inference"))
    with load_without_failure(scaled):
        scaled.kill("inference")

        def is_back() -> bool:
            now = scaled.replicas("inference")
            healthy = [replica for replica in now if replica.attrs["State"]["Health"]["Status"] == "healthy"]
            return len(healthy) == REPLICAS and sum(r.attrs["RestartCount"] for r in now) == restarts + 1

        wait_until("the killed replica is back", is_back, interval=0.2)


def test_gateway_alone_has_a_port_and_is_denied_what_it_does_not_need(scaled: Stack) -> None:
    gateway = scaled.container("gateway").attrs
    host = gateway["HostConfig"]
    assert gateway["Config"]["User"] == "99:99"
    assert (host["CapDrop"], host["CapAdd"], host["ReadonlyRootfs"]) == (["ALL"], None, True)
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
    assert [binding["HostIp"] for binding in host["PortBindings"]["8000/tcp"]] == ["127.0.0.1"]
    assert not any(replica.attrs["HostConfig"]["PortBindings"] for replica in scaled.replicas("inference"))


def test_replicas_that_are_scaled_away_fail_no_request(scaled: Stack) -> None:
    with load_without_failure(scaled):
        scaled.compose(*FILES, "up", "-d", "--wait", "--scale", "inference=2")
        wait_for_count(scaled, 'up{job="inference"}', 2, condition="== 1")
    assert len(scaled.replicas("inference")) == 2
