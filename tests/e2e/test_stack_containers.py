"""docs/security.md on the real stack: which servers each container reaches, and which secrets it holds."""

import json

import pytest

from tests.support.doors import names, table
from tests.support.stack import Stack

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

CONTAINERS = table("The containers")
LISTENERS = {
    "mysql": 3306,
    "zenml": 8080,
    "mlflow": 5000,
    "inference": 8000,
    "monitor": 8001,
    "quality": 8002,
    "docker-proxy": 2375,
    "prometheus": 9090,
    "alertmanager": 9093,
    "grafana": 3000,
}
# In a container with the networks of another one: which servers accept a connection, and whether there is a way out.
PROBE = """
import json, socket, sys
def accepts(address):
    try:
        socket.create_connection(address, 3).close()
        return True
    except OSError:
        return False
routes = [line.split() for line in open("/proc/net/route")][1:]
reached = [name for name, port in json.loads(sys.argv[1]).items() if accepts((name, port))]
print(json.dumps([reached, any(route[1] == "00000000" for route in routes)]))
"""


@pytest.mark.parametrize("service", CONTAINERS)
def test_container_reaches_only_the_servers_of_the_table(stack: Stack, service: str) -> None:
    running = stack.containers()
    if service not in running:
        pytest.skip(f"the stack runs without {service}")
    row = CONTAINERS[service]
    reached, way_out = probe_as(stack, list(running[service].attrs["NetworkSettings"]["Networks"]))
    listening = set(LISTENERS) & set(running)
    assert set(reached) - {service} == names(row["Connects to"]) & listening
    assert way_out == (row["Other networks"] == "yes")


def probe_as(stack: Stack, networks: list[str]) -> tuple[list[str], bool]:
    """What a container with these networks reaches, and whether it has a way out."""
    command = ["python", "-c", PROBE, json.dumps(LISTENERS)]
    image = stack.container("monitor").attrs["Config"]["Image"]
    probe = stack.docker.containers.create(image, command, network=networks[0], healthcheck={"test": ["NONE"]})
    try:
        for network in networks[1:]:
            stack.docker.networks.get(network).connect(probe)
        probe.start()
        assert probe.wait(timeout=120)["StatusCode"] == 0, probe.logs()
        reached, way_out = json.loads(probe.logs(stderr=False))
        return reached, way_out
    finally:
        probe.remove(force=True)


@pytest.mark.parametrize("service", CONTAINERS)
def test_container_holds_only_the_secrets_of_the_table(stack: Stack, service: str) -> None:
    running = stack.containers()
    if service not in running:
        pytest.skip(f"the stack runs without {service}")
    environment = "\n".join(running[service].attrs["Config"]["Env"])
    held = {name for name, value in stack.secrets().items() if value in environment}
    assert held == names(CONTAINERS[service]["Secrets"])
