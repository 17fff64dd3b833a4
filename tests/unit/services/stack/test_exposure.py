from typing import Any

import pytest

from src.services.stack.compose_config import Stack
from src.services.stack.exposure import exposures
from tests.unit.services.stack.fakes import compose_config


def stack(host: str, *, key: str = "", **services: Any) -> Stack:
    config = compose_config(zenml=8080, inference=8000)
    config["services"]["inference"]["ports"][0]["host_ip"] = host
    config["services"]["inference"]["environment"] = {"WRITE_API_KEY": key}
    return Stack({**config, "services": {**config["services"], **services}})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1"])
def test_ports_on_the_loopback_leave_nothing_open(host: str) -> None:
    assert list(exposures(stack(host))) == []


@pytest.mark.parametrize(("host", "address"), [("0.0.0.0", "0.0.0.0"), ("10.0.0.7", "10.0.0.7"), ("", "every address")])  # noqa: S104
def test_open_port_is_reported_and_what_can_be_done_there_without_a_key(host: str, address: str) -> None:
    port, writing = exposures(stack(host))
    assert port == (
        f"inference is open to other machines ({address}, port 8000) without TLS and sign-in; for both see docs/tls.md"
    )
    assert writing.startswith(
        "WRITE_API_KEY is not set: every client of inference can request trainings and rollbacks;"
    )
    assert list(exposures(stack(host, key="k" * 16))) == [port]


def test_gateway_counts_as_inference() -> None:
    config = compose_config(gateway=8000)
    config["services"]["gateway"]["ports"][0]["host_ip"] = "0.0.0.0"  # noqa: S104
    config["services"]["inference"] = {"environment": {"WRITE_API_KEY": None}}
    port, writing = exposures(Stack(config))
    assert port.startswith("gateway is open")
    assert writing.startswith("WRITE_API_KEY is not set")


def test_tls_ports_may_be_open_while_the_plain_one_is_not() -> None:
    proxy = {"ports": [{"host_ip": "0.0.0.0", "target": 8443, "published": "8443"}]}  # noqa: S104
    assert list(exposures(stack("127.0.0.1", **{"tls-proxy": proxy}))) == []
    plain, *_ = exposures(stack("0.0.0.0", **{"tls-proxy": proxy}))  # noqa: S104
    assert plain.endswith("without TLS and sign-in; unset BIND_ADDRESS")
