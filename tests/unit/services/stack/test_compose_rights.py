"""What each container of the stack may do, compared with a written-out list: a lost restriction fails here."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from src.services.local.processes import REPOSITORY


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((REPOSITORY / name).read_text(encoding="utf-8").replace("!reset", ""))
    return found


COMPOSE = load("docker-compose.yml")
SCALE = load("docker-compose.scale.yml")
TLS = load("docker-compose.tls.yml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"] | {
    "gateway": SCALE["services"]["gateway"],
    "tls-proxy": TLS["services"]["tls-proxy"],
}


@dataclass(frozen=True)
class Rights:
    """What a service may reach and use.

    ``published``: variables of its ports on the host; ``writes``: named volumes; ``reads``: files of the checkout,
    mounted read-only; ``user``: where docker-compose.yml and not the image sets it.
    """

    networks: tuple[str, ...]
    memory: str
    pids: int
    published: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    user: str | None = None
    restart: str = "always"
    read_only: bool = True
    security: tuple[str, ...] = ("no-new-privileges:true",)
    sockets: tuple[str, ...] = field(default=())


RIGHTS = {
    "mysql": Rights(("database",), "1g", 300, writes=("mysql",), reads=("./config/mysql",), user="999:999"),
    "zenml": Rights(("database", "loop"), "1g", 300, published=("ZENML_PORT",)),
    "mlflow": Rights(("database", "loop"), "2g", 300, published=("MLFLOW_PORT",), writes=("mlflow",)),
    "preprocess": Rights(
        ("sources",),
        "${TRAIN_MEMORY:-2g}",
        100,
        writes=("data", "scratch"),
        reads=("./config/pipeline.yaml", "./data-file/incoming"),
        restart="no",
    ),
    "train-model": Rights(
        ("loop", "sources"),
        "${TRAIN_MEMORY:-2g}",
        300,
        writes=("data", "scratch", "zenml"),
        reads=("./config/pipeline.yaml", "./data-file/incoming"),
        restart="no",
    ),
    "inference": Rights(
        ("loop", "metrics"), "512m", 100, published=("INFERENCE_PORT",), writes=("data", "model-cache")
    ),
    "monitor": Rights(("docker", "metrics"), "256m", 100, writes=("data",)),
    "quality": Rights(
        ("metrics", "sources"),
        "${QUALITY_MEMORY:-1g}",
        100,
        writes=("data",),
        reads=("./config/pipeline.yaml", "./data-file/incoming", "./data-file/labels"),
    ),
    "docker-proxy": Rights(
        ("docker",),
        "128m",
        50,
        reads=("./config/docker-proxy/haproxy.cfg",),
        user="0:0",
        security=("no-new-privileges:true", "label=disable"),
        sockets=("/var/run/docker.sock",),
    ),
    "prometheus": Rights(
        ("metrics", "published"),
        "1g",
        200,
        published=("PROMETHEUS_PORT",),
        writes=("prometheus",),
        reads=("./config/alerts.yml", "./config/prometheus.yml"),
    ),
    "alertmanager": Rights(
        ("metrics", "notifications"), "256m", 200, writes=("alertmanager",), reads=("./config/alertmanager",)
    ),
    "blackbox-exporter": Rights(("loop", "metrics"), "128m", 50, reads=("./config/blackbox.yml",), user="65534:65534"),
    "node-exporter": Rights(("metrics",), "128m", 50, user="65534:65534"),
    "mysqld-exporter": Rights(("database", "metrics"), "128m", 50, user="65534:65534"),
    "grafana": Rights(
        ("metrics", "published"),
        "512m",
        200,
        published=("GRAFANA_PORT",),
        writes=("grafana",),
        reads=(
            "./config/grafana/dashboards",
            "./config/grafana/provisioning/dashboards",
            "./config/grafana/provisioning/datasources",
        ),
        read_only=False,
    ),
    "gateway": Rights(
        ("loop",), "256m", 100, published=("INFERENCE_PORT",), reads=("./config/gateway/haproxy.cfg",), user="99:99"
    ),
    "tls-proxy": Rights(
        ("loop", "metrics"),
        "256m",
        100,
        published=(
            "INFERENCE_TLS_PORT",
            "MLFLOW_TLS_PORT",
            "ZENML_TLS_PORT",
            "PROMETHEUS_TLS_PORT",
            "ALERTMANAGER_TLS_PORT",
            "GRAFANA_TLS_PORT",
        ),
        reads=("./config/tls/haproxy.cfg", "./tls/server.pem"),
        user="99:99",
    ),
}


def rights_of(service: dict[str, Any]) -> Rights:
    """The rights that the Compose file gives."""
    short = [volume for volume in service.get("volumes", []) if isinstance(volume, str)]
    parts = [volume.split(":") for volume in short]
    long = [volume for volume in service.get("volumes", []) if isinstance(volume, dict)]
    read_only = [mount for mount in long if mount.get("read_only")]
    # Docker would create a folder where the file is missing.
    assert all(mount["bind"] == {"create_host_path": False} for mount in long)
    assert all(len(part) == 2 or part[2:] == ["ro"] for part in parts)
    assert all(part[0].startswith("./") == (part[2:] == ["ro"]) for part in parts)
    return Rights(
        networks=tuple(sorted(service["networks"])),
        memory=service["mem_limit"],
        pids=service["pids_limit"],
        published=tuple(port.rpartition("${")[2].split(":")[0] for port in service.get("ports", [])),
        writes=tuple(sorted(part[0] for part in parts if len(part) == 2)),
        reads=tuple(sorted([part[0] for part in parts if len(part) == 3] + [mount["source"] for mount in read_only])),
        user=service.get("user"),
        restart=service["restart"],
        read_only=service["read_only"],
        security=tuple(service["security_opt"]),
        sockets=tuple(mount["target"] for mount in long if mount not in read_only),
    )


def test_every_service_is_in_the_list() -> None:
    assert list(SERVICES) == list(RIGHTS)


@pytest.mark.parametrize("name", RIGHTS)
def test_service_has_the_rights_of_the_list_and_no_others(name: str) -> None:
    service = SERVICES[name]
    assert rights_of(service) == RIGHTS[name]
    assert service["cap_drop"] == ["ALL"]
    given = {
        "cap_add",
        "privileged",
        "devices",
        "pid",
        "ipc",
        "network_mode",
        "userns_mode",
        "group_add",
        "extra_hosts",
    }
    assert given & set(service) == set()


def test_networks_without_a_way_out_are_internal() -> None:
    assert COMPOSE["networks"] == {
        "database": {"internal": True},
        "docker": {"internal": True},
        "loop": None,
        "metrics": {"internal": True},
        "notifications": None,
        "published": None,
        "sources": None,
    }


def test_only_the_ports_of_inference_and_of_the_tls_proxy_can_leave_the_loopback() -> None:
    ports = [(name, port) for name, service in SERVICES.items() for port in service.get("ports", [])]
    opened = {(name, port.partition("}:")[0]) for name, port in ports if not port.startswith("127.0.0.1:")}
    assert opened == {
        ("inference", "${BIND_ADDRESS:-127.0.0.1"),
        ("gateway", "${BIND_ADDRESS:-127.0.0.1"),
        ("tls-proxy", "${TLS_BIND_ADDRESS:-127.0.0.1"),
    }


@pytest.mark.parametrize("name", RIGHTS)
def test_service_uses_no_proxy_of_the_docker_client(name: str) -> None:
    environment = SERVICES[name]["environment"]
    assert (environment["NO_PROXY"], environment["no_proxy"]) == ("*", "*")
    # BusyBox wget ignores no_proxy.
    check = SERVICES[name].get("healthcheck", {}).get("test", [])
    assert check[1:2] != ["wget"] or check[2:4] == ["-Y", "off"]


@pytest.mark.parametrize("name", [name for name, rights in RIGHTS.items() if rights.restart == "always"])
def test_service_that_keeps_running_has_a_health_check(name: str) -> None:
    # Those of this repository have theirs in their Dockerfiles, but for an image of another service.
    service = SERVICES[name]
    if "healthcheck" not in service:
        dockerfile = (REPOSITORY / service["build"]["dockerfile"]).read_text(encoding="utf-8")
        assert "\nHEALTHCHECK " in dockerfile
    else:
        assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
