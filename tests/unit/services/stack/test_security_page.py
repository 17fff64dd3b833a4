"""The containers of docs/security.md are those of the Compose files, with their networks and secrets."""

import json

import pytest

from src.services.stack import variables
from tests.support.doors import names, table
from tests.unit.services.stack.test_compose_rights import COMPOSE, SERVICES

CONTAINERS = table("The containers")
SERVERS = {
    "mysql",
    "zenml",
    "mlflow",
    "inference",
    "monitor",
    "quality",
    "docker-proxy",
    "prometheus",
    "alertmanager",
    "grafana",
}


def test_every_service_has_a_row() -> None:
    assert set(CONTAINERS) == set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_service_connects_to_the_servers_of_its_networks(name: str) -> None:
    networks = set(SERVICES[name]["networks"])
    near = {other for other in SERVERS - {name} if networks & set(SERVICES[other]["networks"])}
    assert names(CONTAINERS[name]["Connects to"]) == near
    internal = {network for network, options in COMPOSE["networks"].items() if options and options.get("internal")}
    assert CONTAINERS[name]["Other networks"] == ("yes" if networks - internal else "no")


@pytest.mark.parametrize("name", SERVICES)
def test_service_holds_the_secrets_of_its_row(name: str) -> None:
    environment = json.dumps(SERVICES[name]["environment"])
    held = {secret for secret in variables.REQUIRED if f"${{{secret}" in environment}
    assert names(CONTAINERS[name]["Secrets"]) == held
