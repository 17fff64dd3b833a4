import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.services.stack.compose_config import Port
from src.services.stack.docker_cli import Docker
from src.services.stack.errors import StackError
from src.services.stack.ports import check_ports
from tests.support.running import free_port
from tests.unit.services.stack.fakes import FakeDocker


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def docker(tmp_path: Path) -> FakeDocker:
    return FakeDocker(tmp_path / "bin", {})


def check(docker: FakeDocker, *ports: Port, **environment: str) -> None:
    check_ports(Docker(docker.folder, docker.environment), ports, environment)


def test_check_ports_names_each_port_that_is_taken(docker: FakeDocker, taken: int) -> None:
    ports = [Port("mlflow", "", taken), Port("inference", "127.0.0.1", taken), Port("grafana", "", free_port())]
    expected = rf"port {taken} \(mlflow\), {taken} \(inference\) is taken; .* such as MLFLOW_PORT={taken + 1}$"
    with pytest.raises(StackError, match=expected):
        check(docker, *ports)


def test_check_ports_names_the_container_that_holds_it(docker: FakeDocker, taken: int) -> None:
    docker.answers(f"ps --filter publish={taken}", "other-zenml-1\n")
    with pytest.raises(StackError, match=rf"{taken} \(mlflow, held by the container other-zenml-1\)"):
        check(docker, Port("mlflow", "127.0.0.1", taken))


def test_check_ports_lets_the_stack_have_its_own(docker: FakeDocker, taken: int) -> None:
    check(docker, Port("zenml", "127.0.0.1", taken))


def test_check_ports_does_not_judge_another_machine(docker: FakeDocker, taken: int) -> None:
    check(docker, Port("mlflow", "127.0.0.1", taken), DOCKER_HOST="ssh://elsewhere")
    with pytest.raises(StackError):
        check(docker, Port("mlflow", "127.0.0.1", taken), DOCKER_HOST="unix:///run/docker.sock")


@pytest.mark.parametrize(("service", "variable"), [("inference", "BIND_ADDRESS"), ("tls-proxy", "TLS_BIND_ADDRESS")])
def test_address_of_another_machine_is_refused_with_its_variable(
    docker: FakeDocker, service: str, variable: str
) -> None:
    with pytest.raises(StackError, match=rf"192\.0\.2\.1 is not an address of this machine; correct {variable} in"):
        check(docker, Port(service, "192.0.2.1", free_port()))
