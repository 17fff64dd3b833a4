import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from src.services.stack import dotenv_text
from src.services.stack.archive_reader import Archive
from src.services.stack.checkout import Checkout
from src.services.stack.errors import StackError
from src.services.stack.restore import Restore, main
from tests.support.backup_files import IMAGES, MANIFEST, backup
from tests.unit.services.stack.fakes import FakeDocker

pytestmark = pytest.mark.slow

FREE = "docker compose -p loop down --volumes --remove-orphans"
PASSPHRASE = {"BACKUP_PASSPHRASE": "sixteen letters."}
SHORT = {"BACKUP_PASSPHRASE": "fifteen letters"}


def mount(volume: str, target: str) -> dict[str, object]:
    return {"volumes": [{"type": "volume", "source": volume, "target": target}]}


CONFIG = {
    "name": "loop",
    "services": {
        "mysql": {"image": IMAGES["mysql"], **mount("mysql", "/var/lib/mysql")},
        "zenml": {"image": IMAGES["zenml"]},
        "mlflow": {"image": IMAGES["mlflow"], **mount("mlflow", "/mlartifacts")},
        "monitor": mount("data", "/app/data-file"),
        "train-model": mount("zenml", "/app/zenml"),
    },
    "volumes": {name: {"name": f"loop_{name}"} for name in ("mysql", "mlflow", "zenml", "data")},
}
STARTING = ("up", "build", "cp", "exec", "run")


@pytest.fixture
def docker(tmp_path: Path) -> FakeDocker:
    return FakeDocker(tmp_path / "bin", CONFIG)


class Machine:
    """A checkout beside a fake Docker; what was said there."""

    def __init__(self, folder: Path, docker: FakeDocker) -> None:
        self.docker = docker
        self.folder = folder / "checkout"
        self.folder.mkdir()
        self.said: list[str] = []
        self.on_build: Callable[[], None] = lambda: None

    def say(self, line: str) -> None:
        self.said.append(line)
        if line.startswith("==> building images"):
            self.on_build()

    def restore(self, file: Path, *, secrets: bool = False, **environment: str) -> None:
        checkout = Checkout(self.folder, {**self.docker.environment, **environment})
        Restore(checkout, Archive(file), self.say).run(secrets=secrets)

    def refused(self, file: Path, *, secrets: bool = False, **environment: str) -> str:
        """The error of a restore that must change nothing."""
        before = {path: path.read_bytes() for path in self.folder.iterdir()}
        with pytest.raises(StackError) as caught:
            self.restore(file, secrets=secrets, **environment)
        assert "\n" not in str(caught.value)
        assert {path: path.read_bytes() for path in self.folder.iterdir()} == before
        started = [call for call in self.docker.said() if any(word in call.split() for word in STARTING)]
        assert started == []
        return str(caught.value)


@pytest.fixture
def machine(tmp_path: Path, docker: FakeDocker) -> Machine:
    return Machine(tmp_path, docker)


@pytest.mark.parametrize("state", ["running", "paused", "restarting"])
def test_restore_beside_a_running_stack_is_refused(machine: Machine, tmp_path: Path, state: str) -> None:
    machine.docker.answers("ps --all", f"0a1b\t{state}\tinference\n0a1c\texited\ttrain-model\n")
    error = machine.refused(backup(tmp_path))
    assert "the stack loop runs here (inference)" in error
    assert error.endswith(FREE)


def test_restore_over_data_is_refused_with_the_command_that_deletes_them(machine: Machine, tmp_path: Path) -> None:
    machine.docker.answers("volume ls", "another_mysql\nloop_mysql\nloop_data\n")
    error = machine.refused(backup(tmp_path))
    assert "has data here (loop_data, loop_mysql)" in error
    assert error.endswith(FREE)


PORTS = {
    "inference": {"ports": [{"host_ip": "127.0.0.1", "target": 8000, "published": "8010"}]},
    "grafana": {"ports": [{"host_ip": "127.0.0.1", "target": 3000, "published": "3000"}]},
}


@pytest.fixture
def published(tmp_path: Path) -> Machine:
    """A machine whose stack publishes ports."""
    services = {**CONFIG["services"], **PORTS}  # type: ignore[dict-item]
    return Machine(tmp_path, FakeDocker(tmp_path / "bin", {**CONFIG, "services": services}))


@pytest.mark.parametrize(
    ("words", "output"), [("ps --all", "0a1b\trunning\tinference\n"), ("volume ls", "loop_mysql\n")]
)
def test_secrets_beside_another_stack_get_a_name_and_ports_in_the_environment(
    published: Machine, tmp_path: Path, words: str, output: str
) -> None:
    published.docker.answers(words, output)
    (tmp_path / "my backups").mkdir()
    path = backup(tmp_path / "my backups", secrets=b"{}")
    error = published.refused(path, secrets=True, **PASSPHRASE)
    variables = "COMPOSE_PROJECT_NAME=loop-restored INFERENCE_PORT=8110 GRAFANA_PORT=3100"
    assert f"in the environment: {variables} make restore FILE='{path}' SECRETS=1; or " in error
    assert ".env" not in error
    assert error.endswith(FREE)
    assert "ports in .env" in published.refused(path)


def test_env_file_is_refused_before_a_name_is_proposed(published: Machine, tmp_path: Path) -> None:
    published.docker.answers("ps --all", "0a1b\trunning\tinference\n")
    (published.folder / ".env").write_text("MODEL_NAME=iris\n")
    error = published.refused(backup(tmp_path, secrets=b"{}"), secrets=True, **PASSPHRASE)
    assert "there is a .env already" in error


HERE = {"COMPOSE_PROJECT_NAME": "loop", "INFERENCE_PORT": "8010", "MONITOR_PORT": "9"}  # the last is not published


def interrupted(machine: Machine, file: Path, *, secrets: bool = False, **environment: str) -> str:
    """The ``.env`` of a restore that ends once it is written."""
    machine.docker.answers("up --no-start", errors="no space left on device\n", code=1)
    with pytest.raises(StackError, match="no space left"):
        machine.restore(file, secrets=secrets, **environment)
    return (machine.folder / ".env").read_text()


@pytest.mark.parametrize(
    ("old", "kept"),
    [
        (
            "COMPOSE_PROJECT_NAME=old\nINFERENCE_PORT=8000 # ours\nGRAFANA_PORT=3001\n",
            "COMPOSE_PROJECT_NAME=loop\nINFERENCE_PORT=8010 # ours\nGRAFANA_PORT=3001\n",
        ),
        ("MODEL_NAME=iris\n", "MODEL_NAME=iris\nCOMPOSE_PROJECT_NAME=loop\nINFERENCE_PORT=8010\n"),
    ],
)
def test_restored_env_file_names_the_stack_of_the_environment(
    published: Machine, tmp_path: Path, old: str, kept: str
) -> None:
    published.docker.answers("sealed_text open", old)
    text = interrupted(published, backup(tmp_path, secrets=b"{}"), secrets=True, **PASSPHRASE, **HERE)
    assert text.startswith(kept)
    assert "MONITOR_PORT" not in text
    (line,) = [line for line in published.said if "of the environment" in line]
    assert line.endswith(": COMPOSE_PROJECT_NAME=loop INFERENCE_PORT=8010")


def test_restored_env_file_is_as_it_was_where_the_environment_names_no_stack(
    published: Machine, tmp_path: Path
) -> None:
    old = "COMPOSE_PROJECT_NAME=old\nINFERENCE_PORT=8000\n"
    published.docker.answers("sealed_text open", old)
    assert interrupted(published, backup(tmp_path, secrets=b"{}"), secrets=True, **PASSPHRASE).startswith(old)
    assert "of the environment" not in "".join(published.said)


def test_new_env_file_names_the_stack_of_the_environment_and_one_that_exists_is_kept(
    published: Machine, tmp_path: Path
) -> None:
    path = backup(tmp_path)
    values = dotenv_text.values(interrupted(published, path, **HERE))
    assert (values["COMPOSE_PROJECT_NAME"], values["INFERENCE_PORT"]) == ("loop", "8010")
    assert "MYSQL_ROOT_PASSWORD" in values
    (published.folder / ".env").write_text("INFERENCE_PORT=8000\n")  # of a stack that this checkout runs
    values = dotenv_text.values(interrupted(published, path, **HERE))
    assert (values.get("COMPOSE_PROJECT_NAME"), values["INFERENCE_PORT"]) == (None, "8000")


@pytest.mark.parametrize(
    ("words", "output", "message"),
    [
        ("ps --all", "0a1b\trunning\tinference\n", "the stack loop runs here (inference)"),
        ("volume ls", "loop_mysql\n", "has data here (loop_mysql)"),
    ],
)
def test_stack_that_was_started_during_the_build_is_not_touched(
    machine: Machine, tmp_path: Path, words: str, output: str, message: str
) -> None:
    machine.on_build = lambda: machine.docker.answers(words, output)
    with pytest.raises(StackError, match=re.escape(message)):
        machine.restore(backup(tmp_path))
    assert [call for call in machine.docker.said() if "up " in call or "cp " in call] == []
    assert "incomplete" not in "".join(machine.said)


def test_volumes_that_docker_cannot_list_are_not_taken_for_absent(machine: Machine, tmp_path: Path) -> None:
    machine.docker.answers("volume ls", errors="permission denied\n", code=1)
    assert machine.refused(backup(tmp_path)) == "docker volume ls failed: permission denied"


def test_damaged_backup_changes_nothing(machine: Machine, tmp_path: Path) -> None:
    path = backup(tmp_path)
    path.write_bytes(path.read_bytes()[:-4000])
    assert "not a whole backup" in machine.refused(path)


@pytest.mark.parametrize(
    ("service", "image"),
    [
        ("zenml", "zenmldocker/zenml-server:0.98.1"),
        ("mlflow", "ghcr.io/mlflow/mlflow:v3.18.0-full"),
        ("mysql", "mysql:10.0"),
        ("mysql", "mysql:9.8@sha256:0aab"),
        ("mysql", "localhost:5000/mysql:9.8"),
    ],
)
def test_backup_of_newer_servers_is_refused(machine: Machine, tmp_path: Path, service: str, image: str) -> None:
    newer = dataclasses.replace(MANIFEST, images={**IMAGES, service: image})
    error = machine.refused(backup(tmp_path, manifest=newer))
    assert (
        error
        == f"the backup is of a stack with {image}, and this checkout has {IMAGES[service]}; use that stack's checkout"
    )


def test_secrets_need_a_passphrase_and_a_backup_that_has_them(machine: Machine, tmp_path: Path) -> None:
    path = backup(tmp_path)
    assert "BACKUP_PASSPHRASE" in machine.refused(path, secrets=True)
    assert "at least 16 characters" in machine.refused(path, secrets=True, **SHORT)
    assert "the backup has no secrets" in machine.refused(path, secrets=True, **PASSPHRASE)


def test_secrets_never_replace_an_env_file(machine: Machine, tmp_path: Path) -> None:
    (machine.folder / ".env").write_text("MODEL_NAME=iris\n")
    error = machine.refused(backup(tmp_path, secrets=b"{}"), secrets=True, **PASSPHRASE)
    assert "there is a .env already" in error


def test_wrong_passphrase_writes_nothing(machine: Machine, tmp_path: Path) -> None:
    machine.docker.answers("sealed_text open", errors="error: another passphrase\n", code=3)
    with pytest.raises(StackError, match="not the passphrase"):
        machine.restore(backup(tmp_path, secrets=b"{}"), secrets=True, **PASSPHRASE)
    assert list(machine.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "errors", "message"),
    [
        (125, "docker: no such image\n\nRun 'docker run --help' for more information\n", "docker: no such image"),
        (126, "docker: exec format error\nSee 'docker run --help'.\n", "docker: exec format error"),
        (137, "", "exit code 137"),
        (1, "ModuleNotFoundError: No module named cryptography\n", "No module named cryptography"),
    ],
)
def test_container_that_fails_is_no_wrong_passphrase(
    machine: Machine, tmp_path: Path, code: int, errors: str, message: str
) -> None:
    machine.docker.answers("sealed_text open", errors=errors, code=code)
    with pytest.raises(StackError, match=f"cannot decrypt .env; nothing was changed: .*{message}$"):
        machine.restore(backup(tmp_path, secrets=b"{}"), secrets=True, **PASSPHRASE)
    assert list(machine.folder.iterdir()) == []


def test_passphrase_is_in_no_command_line_and_in_no_environment_of_docker(machine: Machine, tmp_path: Path) -> None:
    machine.docker.answers("sealed_text open", "MODEL_NAME=iris\n")
    machine.docker.answers("up --no-start", errors="no space left on device\n", code=1)
    with pytest.raises(StackError, match="no space left"):
        machine.restore(backup(tmp_path, secrets=b"{}"), secrets=True, **PASSPHRASE)
    assert PASSPHRASE["BACKUP_PASSPHRASE"] not in json.dumps(machine.docker.calls())
    (run,) = [call for call in machine.docker.said() if "sealed_text" in call]
    assert run.startswith("run --rm --interactive --log-driver none --network none ")
    assert (machine.folder / ".env").read_text().startswith("MODEL_NAME=iris\n")
    assert (machine.folder / ".env").stat().st_mode & 0o777 == 0o600


def test_project_that_a_restored_env_file_names_is_looked_at_first(machine: Machine, tmp_path: Path) -> None:
    machine.docker.answers("sealed_text open", "COMPOSE_PROJECT_NAME=named-there\n")
    machine.docker.answers("up --no-start", errors="no space left on device\n", code=1)
    with pytest.raises(StackError, match="no space left"):
        machine.restore(backup(tmp_path, secrets=b"{}"), secrets=True, **PASSPHRASE)
    looks = [
        given.get("COMPOSE_PROJECT_NAME")
        for words, given in machine.docker.calls()
        if words[:2] == ["compose", "config"]
    ]
    assert "named-there" in looks


def test_restore_fills_volumes_and_databases_and_sets_the_password_of_the_env_file(
    machine: Machine, tmp_path: Path
) -> None:
    services = ("mysql", "mlflow", "monitor", "train-model")
    machine.docker.answers("ps --all", "".join(f"id-{name}\tcreated\t{name}\n" for name in services))
    machine.docker.answers("compose run", "$2b$12$of/the.new\n")
    machine.docker.answers("--batch", "2\n")  # any query's answer: two secrets are stored in ZenML
    machine.restore(backup(tmp_path))
    steps = ("build", "up --no-start", "cp - id-monitor:/app/data-file", "up --detach", "exec mysql --protocol")
    said = machine.docker.said()
    order = [next(number for number, call in enumerate(said) if words in call) for words in (*steps, "compose run")]
    assert order == sorted(order)
    assert "cp - id-mlflow:/mlartifacts" in said
    assert "cp - id-train-model:/app/zenml" in said
    assert any(line.startswith("warning: ZenML stores 2 secrets") for line in machine.said)
    assert machine.said[-2] == "==> champion: iris version 3"
    assert machine.said[-1].endswith("next: make up")
    values = dotenv_text.values((machine.folder / ".env").read_text())
    assert [value for name, value in values.items() if "PASSWORD" in name and value in "\n".join(said)] == []


def test_restore_that_fails_names_the_command_before_the_next_try(machine: Machine, tmp_path: Path) -> None:
    machine.docker.answers("up --no-start", errors="no space left on device\n", code=1)
    with pytest.raises(StackError, match="no space left"):
        machine.restore(backup(tmp_path))
    assert machine.said[-1] == f"==> incomplete; before the next try: {FREE}"


@pytest.mark.parametrize("pinned", ["mysql:9.7@sha256:12ab", "localhost:5000/mysql:9.7.1"])
def test_digest_and_registry_are_no_part_of_a_version(tmp_path: Path, pinned: str) -> None:
    services = {**CONFIG["services"], "mysql": {"image": pinned, **mount("mysql", "/var/lib/mysql")}}  # type: ignore[dict-item]
    machine = Machine(tmp_path, FakeDocker(tmp_path / "bin", {**CONFIG, "services": services}))
    machine.docker.answers("up --no-start", errors="no space left on device\n", code=1)
    with pytest.raises(StackError, match="no space left"):  # so it was accepted
        machine.restore(backup(tmp_path))


def test_command_without_a_backup_is_one_error_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "the following arguments are required: file" in capsys.readouterr().err


def test_command_without_a_file_name_says_how_to_give_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--", ""]) == 1
    assert capsys.readouterr().err == "error: FILE= is missing: make restore FILE=backups/….tar\n"
