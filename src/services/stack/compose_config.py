"""The configuration that docker compose resolves from docker-compose.yml, ``.env`` and the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PROJECT = "COMPOSE_PROJECT_NAME"
TLS_PROXY = "tls-proxy"
# By the container's port, for services that have several ports, or one of another service.
_VARIABLES = {
    ("gateway", 8000): "INFERENCE_PORT",
    (TLS_PROXY, 8443): "INFERENCE_TLS_PORT",
    (TLS_PROXY, 5443): "MLFLOW_TLS_PORT",
    (TLS_PROXY, 8444): "ZENML_TLS_PORT",
    (TLS_PROXY, 9443): "PROMETHEUS_TLS_PORT",
    (TLS_PROXY, 9444): "ALERTMANAGER_TLS_PORT",
    (TLS_PROXY, 3443): "GRAFANA_TLS_PORT",
}


@dataclass(frozen=True)
class Port:
    """One published port of a service.

    Attributes:
        service: its name.
        host: the address it is bound to, empty for all of them.
        number: the port on that address.
        target: the container's port.
    """

    service: str
    host: str
    number: int
    target: int = 0

    @property
    def variable(self) -> str:
        """The variable in ``.env`` that chooses another port."""
        own = f"{self.service.upper().replace('-', '_')}_PORT"
        return _VARIABLES.get((self.service, self.target), own)


class Stack:
    """The resolved compose file: names, ports and values as docker compose uses them."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self.name = str(config["name"])

    def has(self, service: str) -> bool:
        """Whether the service is part of the stack."""
        return service in self._config["services"]

    def image(self, service: str) -> str:
        """The image that the service runs; one that docker compose builds has this name by default."""
        return str(self._config["services"][service].get("image") or f"{self.name}-{service}")

    def ports(self) -> list[Port]:
        """Every port that is published with a fixed number."""
        return [
            Port(name, port.get("host_ip", ""), int(port["published"]), int(port.get("target", 0)))
            for name, service in self._config["services"].items()
            for port in service.get("ports") or ()
            if str(port.get("published", "")).isdigit()
        ]

    @property
    def deletion(self) -> str:
        """The command that deletes the stack with all its data."""
        return f"docker compose -p {self.name} down --volumes --remove-orphans"

    def own_variables(self) -> dict[str, str]:
        """The variables in which two stacks on one machine differ, with this stack's values: its name and its ports."""
        return {PROJECT: self.name, **{port.variable: str(port.number) for port in self.ports()}}

    def variable(self, service: str, name: str) -> str:
        """The value of a service's environment variable, or an empty one."""
        value = (self._config["services"].get(service, {}).get("environment") or {}).get(name)
        return "" if value is None else str(value).replace("$$", "$")  # docker compose doubles it in its output

    def volumes(self, service: str) -> list[str]:
        """Docker's names of the service's named volumes."""
        mounts = self._config["services"].get(service, {}).get("volumes") or ()
        sources = [mount["source"] for mount in mounts if mount.get("type") == "volume" and mount.get("source")]
        return [str(self._config["volumes"][source]["name"]) for source in sources]

    def all_volumes(self) -> list[str]:
        """Docker's names of all named volumes."""
        return [str(volume["name"]) for volume in (self._config.get("volumes") or {}).values()]

    def mount(self, service: str, volume: str) -> str | None:
        """The path of a volume in a service's container; None where the service is not in the active profiles."""
        mounts = self._config["services"].get(service, {}).get("volumes") or ()
        return next((str(mount["target"]) for mount in mounts if mount.get("source") == volume), None)

    def pinned_images(self) -> dict[str, str]:
        """The images that docker-compose.yml names, by service."""
        return {name: str(service["image"]) for name, service in self._config["services"].items() if "image" in service}
