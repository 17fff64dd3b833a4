from pathlib import Path

import pytest

from src.services.stack.errors import StackError
from tests.unit.services.stack.test_backup import SERVICES, Machine

pytestmark = pytest.mark.slow

NEW = {**dict.fromkeys((*SERVICES, "grafana", "zenml"), "created"), "mysql": "running"}
CREATING = "==> creating containers of "


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A fake Docker with a stack that is down: its volume is there, its containers and networks are not."""
    machine = Machine(tmp_path)
    machine.docker.answers("volume ls", "loop_mysql\n")
    machine.has({})
    machine.answers_all()
    return machine


def creates(machine: Machine, states: dict[str, str]) -> None:
    """From the creation of containers on, let these exist, and a network."""

    def create() -> None:
        machine.has(states)
        machine.docker.answers("network ls", "net-loop\n")

    machine.reactions[CREATING] = create


def ended(machine: Machine) -> list[str]:
    """The calls that stop or remove something."""
    beginnings = ("compose stop", "compose down", "rm ", "network rm")
    return [" ".join(sorted(call.split())) for call in machine.docker.said() if call.startswith(beginnings)]


def calls(*expected: str) -> list[str]:
    return [" ".join(sorted(call.split())) for call in expected]


def stopped_with_mysql(machine: Machine, states: dict[str, str]) -> None:
    """Let MySQL be stopped after the copies, as ``compose stop`` leaves it."""
    machine.reactions["==> grafana.tar.gz"] = lambda: machine.has({**states, "mysql": "exited"})


def test_stack_that_is_down_is_as_before(machine: Machine) -> None:
    creates(machine, NEW)
    stopped_with_mysql(machine, NEW)
    machine.backup()
    assert ended(machine) == calls(
        "compose stop mysql", "rm " + " ".join(f"id-{service}" for service in NEW), "network rm net-loop"
    )


def test_container_of_a_new_profile_alone_is_removed(machine: Machine) -> None:
    ran = dict.fromkeys(SERVICES, "running")
    machine.has(ran)
    machine.docker.answers("network ls", "net-loop\n")
    creates(machine, {**ran, "grafana": "created"})
    machine.backup()
    assert ended(machine) == calls("rm id-grafana")


def test_backup_that_fails_removes_them_too(machine: Machine) -> None:
    creates(machine, {**NEW, "mysql": "created"})
    machine.docker.answers("up --detach", errors="mysql is unhealthy\n", code=1)
    assert "mysql is unhealthy" in machine.refused()
    assert ended(machine)[1:] == calls("rm " + " ".join(f"id-{service}" for service in NEW), "network rm net-loop")


def test_creation_that_fails_halfway_leaves_nothing(machine: Machine) -> None:
    creates(machine, {"mysql": "created"})
    machine.docker.answers("up --no-start", errors="no space left on device\n", code=1)
    assert "no space left" in machine.refused()
    assert ended(machine) == calls("rm id-mysql", "network rm net-loop")


def test_stack_that_was_started_meanwhile_runs_on(machine: Machine) -> None:
    creates(machine, NEW)
    started = {**dict.fromkeys(NEW, "running"), "inference": "running", "train-model": "exited"}
    machine.reactions["==> grafana.tar.gz"] = lambda: machine.has(started)
    with pytest.raises(StackError, match="the monitor was started during the backup"):
        machine.backup()
    assert ended(machine) == []


def test_mysql_that_was_stopped_is_stopped_again(machine: Machine) -> None:
    machine.runs(mysql="exited")
    machine.backup()
    assert ended(machine) == calls("compose stop mysql")


def test_backup_stays_where_docker_cannot_remove_a_container(machine: Machine) -> None:
    creates(machine, NEW)
    stopped_with_mysql(machine, NEW)
    machine.docker.answers("rm id-", errors="Error response from daemon: removal is in progress\n", code=1)
    assert machine.backup().exists()
    assert any(
        line.startswith("warning: what the backup created or started is still there: docker rm failed: Error response")
        for line in machine.said
    )
