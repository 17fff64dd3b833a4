"""The lines of docker compose are those that Compose 2.40.3 was seen to print."""

import re

import pytest

from src.services.stack import docker_cli
from src.services.stack.compose_config import Stack
from src.services.stack.docker_cli import Docker
from src.services.stack.errors import StackError
from src.services.stack.start_zenml import start_zenml
from tests.unit.services.stack.fakes import FakeDocker, compose_config

pytestmark = pytest.mark.slow

STACK = Stack(compose_config(zenml=8080, mlflow=5000))
FAILED = (
    "Error response from daemon: failed to set up container networking: driver failed programming external "
    "connectivity on endpoint loop-zenml-1 (2f1e): "
)
OTHER_PASSWORDS = (
    "the volume loop_mysql holds a database that was made with other passwords than .env has now; put the old .env "
    "back, or delete the database with all runs and models: docker compose -p loop down --volumes --remove-orphans"
)
DENIED = "ERROR 1045 (28000): Access denied for user 'zenml'@'localhost' (using password: YES)\n"


def start(docker: FakeDocker) -> list[str]:
    said: list[str] = []
    start_zenml(Docker(docker.folder, docker.environment), STACK, said.append)
    return said


def refused(docker: FakeDocker) -> str:
    with pytest.raises(StackError) as caught:
        start(docker)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_start_zenml_shows_what_compose_does(docker: FakeDocker) -> None:
    docker.answers("up", errors=" Container loop-zenml-1  Started\n\n Container loop-zenml-1  Healthy\n")
    assert start(docker) == ["    Container loop-zenml-1  Started", "    Container loop-zenml-1  Healthy"]
    assert re.search(r"^compose .*up --detach --wait .*zenml$", docker.said()[0])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Bind for 127.0.0.1:8080 failed: port is already allocated", "port 8080 (zenml) is taken;"),
        ("failed to bind host port for 127.0.0.1:5000:172.2.0.2:8080/tcp: address already in use", "5000 (mlflow) is"),
        ("listen tcp4 127.0.0.1:8080: bind: address already in use", "such as ZENML_PORT=8081"),
        ("Ports are not available: odd; ports are not available", "a port of the stack is taken; stop what listens"),
        (
            "failed to bind host port for 10.9.9.9:80:172.2.0.2:80/tcp: cannot assign requested address",
            "10.9.9.9 is no",
        ),
        (
            "listen tcp 10.9.9.9:8080: bind: cannot assign requested address",
            "10.9.9.9 is not an address of this machine",
        ),
        ("write /var/lib/docker/x: no space left on device", "the disk is full; free some space"),
        ('Get "https://r.example/v2/": dial tcp: lookup r.example: no such host', "cannot fetch an image; can"),
        ("pull access denied for zenml, repository does not exist", "cannot fetch an image;"),
        ("something new", "docker compose could not start zenml: Error response from daemon: "),
    ],
)
def test_start_zenml_knows_what_went_wrong(docker: FakeDocker, line: str, message: str) -> None:
    docker.answers("up", errors=f" Container loop-zenml-1  Starting\n{FAILED}{line}\n", code=1)
    assert message in refused(docker)


@pytest.mark.parametrize(
    ("line", "service"),
    [
        ("container loop-zenml-1 is unhealthy", "zenml"),
        ("container loop-zenml-1 exited (1)", "zenml"),
        ("dependency failed to start: container loop-mysql-1 is unhealthy", "mysql"),
        ("dependency failed to start: container loop-mysql-1 exited (1)", "mysql"),
        ("timeout waiting for dependencies", "zenml"),
    ],
)
def test_start_zenml_names_the_log_to_read(docker: FakeDocker, line: str, service: str) -> None:
    docker.answers("up", errors=line + "\n", code=1)
    assert refused(docker) == f"{service} did not become healthy; to see why: docker compose logs {service}"


@pytest.mark.parametrize("where", ["inspect", "logs"])
def test_start_zenml_gives_up_at_once_where_passwords_differ(
    docker: FakeDocker, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(docker_cli, "_SECONDS_BETWEEN_LOOKS", 0.01)
    docker.answers("up", errors=" Container loop-mysql-1  Waiting\n", seconds=60)
    docker.answers("ps --all --quiet", "abc\ndef\n")
    docker.answers(where, DENIED)
    assert refused(docker) == OTHER_PASSWORDS
    assert "inspect --format {{json .State.Health}} abc def" in docker.said()


def test_start_zenml_tries_the_password_of_mlflow(docker: FakeDocker) -> None:
    docker.answers("exec", errors=DENIED.replace("zenml", "mlflow"), code=1)
    assert refused(docker) == OTHER_PASSWORDS


def test_start_zenml_asks_for_mlflow_without_a_password_in_a_command_line(docker: FakeDocker) -> None:
    start(docker)
    (asked,) = [said for said in docker.said() if "exec" in said]
    assert 'MYSQL_PWD="$MLFLOW_DB_PASSWORD" mysql' in asked
