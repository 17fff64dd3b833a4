"""The configuration that docker compose resolves from docker-compose.yml, ``.env`` and the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Port:
    """One published port of a service; ``host`` is the address it is bound to, empty for all of them."""

    service: str
    host: str
    number: int

    @property
    def variable(self) -> str:
        """The variable in ``.env`` that chooses another port."""
        return f"{self.service.upper().replace('-', '_')}_PORT"


class Stack:
    """The resolved compose file: names, ports and values as docker compose uses them."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self.name = str(config["name"])

    def ports(self) -> list[Port]:
        """Every port that is published with a fixed number."""
        return [
            Port(name, port.get("host_ip", ""), int(port["published"]))
            for name, service in self._config["services"].items()
            for port in service.get("ports") or ()
            if str(port.get("published", "")).isdigit()
        ]

    def variable(self, service: str, name: str) -> str:
        """The value of a service's environment variable, or an empty one."""
        value = (self._config["services"].get(service, {}).get("environment") or {}).get(name)
        return "" if value is None else str(value).replace("$$", "$")  # docker compose doubles it in its output

    def volumes(self, service: str) -> list[str]:
        """Docker's names of the service's named volumes."""
        mounts = self._config["services"].get(service, {}).get("volumes") or ()
        sources = [mount["source"] for mount in mounts if mount.get("type") == "volume" and mount.get("source")]
        return [str(self._config["volumes"][source]["name"]) for source in sources]
