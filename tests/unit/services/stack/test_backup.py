import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from src.services.stack.archive_reader import Archive
from src.services.stack.backup import Backup, main
from src.services.stack.checkout import Checkout
from src.services.stack.errors import StackError
from tests.support.backup_files import DUMP, tar_of
from tests.unit.services.stack.fakes import FakeDocker
from tests.unit.services.stack.test_restore import CONFIG, PASSPHRASE, SHORT, mount

pytestmark = pytest.mark.slow

SERVICES = ("mysql", "mlflow", "monitor", "train-model")


class Machine:
    """A stack of a fake Docker."""

    def __init__(self, folder: Path) -> None:
        config = {**CONFIG, "services": {**CONFIG["services"], "grafana": mount("grafana", "/var/lib/grafana")}}
        self.docker = FakeDocker(folder / "bin", config)
        self.folder = folder / "backups"
        self.said: list[str] = []
        self.reactions: dict[str, Callable[[], object]] = {}

    def say(self, line: str) -> None:
        self.said.append(line)
        for beginning, react in self.reactions.items():
            if line.startswith(beginning):
                react()

    def runs(self, **states: str) -> None:
        """Let these containers be in these states, and the others run."""
        found = dict.fromkeys((*SERVICES, "grafana"), "running") | {n.replace("_", "-"): s for n, s in states.items()}
        self.has(found)

    def has(self, states: Mapping[str, str]) -> None:
        """Let these containers exist, and no others."""
        self.docker.answers("ps --all", "".join(f"id-{name}\t{state}\t{name}\n" for name, state in states.items()))

    def answers_all(self) -> None:
        """Let every command of a backup succeed."""
        self.docker.answers("hold_training", "held\n")
        self.docker.answers("mysqldump", DUMP.decode())
        self.docker.answers("cp id-", tar_of("./file").decode())

    def backup(self, *, secrets: bool = False, **environment: str) -> Path:
        checkout = Checkout(self.docker.folder, {**self.docker.environment, **environment})
        return Backup(checkout, self.folder, self.say).run(secrets=secrets, wait_seconds=0)

    def refused(self, *, secrets: bool = False, **environment: str) -> str:
        with pytest.raises(StackError) as caught:
            self.backup(secrets=secrets, **environment)
        assert "\n" not in str(caught.value)
        assert not self.folder.exists() or list(self.folder.iterdir()) == []
        return str(caught.value)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_backup_has_every_volume_and_its_name_says_when(machine: Machine) -> None:
    machine.runs()
    machine.answers_all()
    path = machine.backup()
    assert path.name.startswith("loop-2")
    assert path.name.endswith("Z.tar")
    manifest = Archive(path).check()
    assert set(manifest.members) == {
        "mysql.sql.gz",
        *(f"{name}.tar.gz" for name in ("data", "mlflow", "zenml", "grafana")),
    }
    assert manifest.project == "loop"
    assert manifest.images["mysql"] == "mysql:9.7"


def test_training_is_held_off_before_anything_is_copied(machine: Machine) -> None:
    machine.runs()
    machine.answers_all()
    machine.backup()
    said = machine.docker.said()
    order = [
        next(i for i, call in enumerate(said) if words in call) for words in ("hold_training", "mysqldump", "cp id-")
    ]
    assert order == sorted(order)


def test_grafana_is_paused_while_its_database_is_copied_and_never_left_so(machine: Machine) -> None:
    machine.runs(grafana="paused")  # as a killed backup has left it
    machine.answers_all()
    machine.docker.answers("unused")
    machine.backup()
    calls = [call for call in machine.docker.said() if "grafana" in call]
    assert calls == ["pause id-grafana", "cp id-grafana:/var/lib/grafana/. -", "unpause id-grafana"]


def test_grafana_goes_on_where_its_copy_fails(machine: Machine) -> None:
    machine.runs()
    machine.docker.answers("cp id-grafana", errors="no such container\n", code=1)
    machine.answers_all()
    machine.refused()
    assert machine.docker.said()[-1] == "unpause id-grafana"


def test_training_that_does_not_end_stops_the_backup(machine: Machine) -> None:
    machine.runs()
    machine.docker.answers("hold_training", "busy\nbusy\n")
    assert "try again later" in machine.refused()


def test_training_without_a_monitor_stops_the_backup(machine: Machine) -> None:
    machine.runs(monitor="exited")
    assert "a training is running and the monitor is not" in machine.refused()


@pytest.mark.parametrize("state", ["paused", "restarting", "removing"])
def test_monitor_that_cannot_hold_trainings_stops_the_backup(machine: Machine, state: str) -> None:
    machine.runs(monitor=state, train_model="exited")
    machine.answers_all()
    assert machine.refused().startswith(f"the monitor's container is {state}, so trainings cannot be held; first ")
    assert not any("mysqldump" in call for call in machine.docker.said())


@pytest.mark.parametrize("state", ["paused", "restarting"])
def test_training_that_has_not_ended_stops_the_backup(machine: Machine, state: str) -> None:
    machine.runs(monitor="exited", train_model=state)
    machine.answers_all()
    assert "a training is running and the monitor is not" in machine.refused()


@pytest.mark.parametrize("state", ["created", "exited", "dead"])
def test_monitor_that_is_stopped_needs_no_hold(machine: Machine, state: str) -> None:
    machine.runs(monitor=state, train_model="exited")
    machine.answers_all()
    Archive(machine.backup()).check()
    assert not any("hold_training" in call for call in machine.docker.said())


def test_monitor_that_was_started_during_the_backup_stops_it(machine: Machine) -> None:
    machine.runs(monitor="exited", train_model="exited")
    machine.answers_all()
    machine.reactions["==> data.tar.gz"] = machine.runs
    assert machine.refused() == "the monitor was started during the backup; make the backup again"


def test_tokens_of_zenml_are_left_out_and_reported(machine: Machine) -> None:
    machine.runs()
    for service in ("monitor", "train-model"):
        machine.docker.answers(f"cp id-{service}", tar_of("./credentials.yaml", "./credentials.yaml.csv").decode())
    machine.answers_all()
    archive = Archive(machine.backup())
    names = {}
    for volume in ("data", "zenml"):
        with archive.uncompressed(f"{volume}.tar.gz") as files, tarfile.open(fileobj=files, mode="r|") as tar:
            names[volume] = tar.getnames()
    assert names == {"data": ["./credentials.yaml", "./credentials.yaml.csv"], "zenml": ["./credentials.yaml.csv"]}
    warnings = [line for line in machine.said if line.startswith("warning")]
    assert warnings == ["warning: left out, as a special file or a secret: ./credentials.yaml"]


def test_monitor_of_an_older_image_is_an_error_of_its_own(machine: Machine) -> None:
    machine.runs()
    machine.docker.answers("hold_training", errors="No module named src.services.monitor.hold_training\n", code=1)
    assert "older than this checkout; run make up first" in machine.refused()


def test_dump_that_ends_early_is_no_backup(machine: Machine) -> None:
    machine.runs()
    machine.answers_all()
    machine.docker.answers("mysqldump", DUMP.decode()[:20], errors="Lost connection to MySQL server\n", code=2)
    assert "Lost connection" in machine.refused()


def test_machine_without_the_stack_is_told_so(machine: Machine) -> None:
    machine.docker.answers("ps --all", "")
    assert machine.refused() == "there is no stack named loop on this machine; make up starts one"


def test_short_passphrase_is_refused_before_the_backup_begins(machine: Machine) -> None:
    assert "at least 16 characters" in machine.refused(secrets=True, **SHORT)
    assert machine.docker.calls() == []


def test_secrets_go_to_the_container_by_its_input_alone(machine: Machine) -> None:
    machine.runs()
    machine.answers_all()
    machine.docker.answers("sealed_text seal", '{"salt": "", "token": ""}')
    path = machine.backup(secrets=True, **PASSPHRASE)
    assert "env.encrypted" in Archive(path).check().members
    assert PASSPHRASE["BACKUP_PASSPHRASE"] not in str(machine.docker.calls())


def test_own_folder_for_backups_becomes_private(machine: Machine) -> None:
    machine.runs()
    machine.answers_all()
    folder = machine.docker.folder / "backups"
    folder.mkdir(mode=0o755)
    checkout = Checkout(machine.docker.folder, machine.docker.environment)
    path = Backup(checkout, None, machine.say).run(secrets=False, wait_seconds=0)
    assert path.parent == folder
    assert folder.stat().st_mode & 0o777 == 0o700


def test_folder_that_the_user_names_keeps_its_mode(machine: Machine) -> None:
    machine.runs()
    machine.answers_all()
    machine.folder.mkdir(mode=0o755)
    machine.backup()
    assert machine.folder.stat().st_mode & 0o777 == 0o755


def test_wrong_argument_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--to", "elsewhere"])
    assert caught.value.code == 2
    assert "--to" in capsys.readouterr().err
