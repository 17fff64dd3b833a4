from pathlib import Path

import pytest

from src.services.stack.docker_checks import check_docker
from src.services.stack.docker_cli import Docker
from src.services.stack.errors import StackError
from tests.unit.services.stack.fakes import FakeDocker

NO_DAEMON = "Cannot connect to the Docker daemon at tcp://127.0.0.1:9. Is the docker daemon running?\n"
NO_PERMISSION = (
    "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: "
    "dial unix /var/run/docker.sock: connect: permission denied\n"
)
NO_COMPOSE = "docker: 'compose' is not a docker command.\nSee 'docker --help'\n"


def check(docker: FakeDocker, **environment: str) -> str:
    given = {**docker.environment, **environment}
    return check_docker(Docker(docker.folder, given), given)


def refused(docker: FakeDocker, **environment: str) -> str:
    with pytest.raises(StackError) as caught:
        check(docker, **environment)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_check_docker_reports_what_it_has_found(docker: FakeDocker) -> None:
    assert check(docker) == "Docker with API 1.51, Compose 2.40.3"


def test_check_docker_misses_the_program(docker: FakeDocker, tmp_path: Path) -> None:
    message = refused(docker, PATH=str(tmp_path))
    assert message.startswith("there is no docker program on the PATH; install Docker: https://docs.docker.com/")


def test_check_docker_names_a_program_that_does_not_run(docker: FakeDocker) -> None:
    (docker.folder / "docker").chmod(0o644)
    assert refused(docker, PATH=str(docker.folder)).startswith("cannot run docker (Permission denied)")


def test_check_docker_misses_the_daemon(docker: FakeDocker) -> None:
    docker.answers("version --format", errors=NO_DAEMON, code=1)
    message = refused(docker)
    assert "the Docker daemon does not answer; start it" in message
    assert "tcp://127.0.0.1:9" in message


def test_check_docker_misses_the_permission(docker: FakeDocker) -> None:
    docker.answers("version --format", errors=NO_PERMISSION, code=1)
    assert "no permission to use Docker; run this with sudo, or join the group" in refused(docker)


def test_check_docker_passes_on_what_it_does_not_know(docker: FakeDocker) -> None:
    docker.answers("version --format", errors='unable to resolve docker endpoint: context "x": not found\n', code=1)
    assert refused(docker) == (
        'docker cannot reach its daemon: unable to resolve docker endpoint: context "x": not found'
    )


@pytest.mark.parametrize("version", ["1.43", "1.9", "", "<no value>"])
def test_check_docker_refuses_an_old_engine(docker: FakeDocker, version: str) -> None:
    docker.answers("version --format", version + "\n")
    assert f"the Docker engine is too old (API {version}, needs 1.44)" in refused(docker)


def test_check_docker_misses_compose(docker: FakeDocker) -> None:
    docker.answers("compose version", errors=NO_COMPOSE, code=1)
    message = refused(docker, PATH=str(docker.folder))
    assert message.startswith("docker has no compose command; install Docker Compose 2.24 or newer: https://")


def test_check_docker_knows_the_old_program_of_its_own(docker: FakeDocker) -> None:
    docker.answers("compose version", errors=NO_COMPOSE, code=1)
    legacy = docker.folder / "docker-compose"
    legacy.touch(mode=0o755)
    assert f"no compose command ({legacy} is the old separate program" in refused(docker)


@pytest.mark.parametrize("version", ["2.23.3", "v2.9.0", "1.29.2", "dev"])
def test_check_docker_refuses_an_old_compose(docker: FakeDocker, version: str) -> None:
    docker.answers("compose version", version + "\n")
    assert f"Docker Compose {version.lstrip('v')} is too old; install Docker Compose 2.24" in refused(docker)


@pytest.mark.parametrize("version", ["2.24.0", "v2.24.0-rc.1", "2.40.3-3", "2.33.1-desktop.1", "5.0.0"])
def test_check_docker_takes_a_newer_compose(docker: FakeDocker, version: str) -> None:
    docker.answers("compose version", version + "\n")
    assert check(docker).endswith(f"Compose {version.lstrip('v')}")
