"""`make backup` of the running stack, and `make restore` of it as a second stack beside it: nothing is lost."""

import json
import os
import re
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from src.services.local.processes import REPOSITORY
from src.services.stack.archive_reader import Archive
from tests.support.running import wait_until
from tests.support.stack import PORTS, PROJECT, Stack, copy_checkout

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]

ROWS = [
    {
        "sepal_length": 4.0 + row / 7,
        "sepal_width": 2.0 + row / 11,
        "petal_length": 1.0 + row / 5,
        "petal_width": row / 9,
    }
    for row in range(25)
]
PASSPHRASE = {"BACKUP_PASSPHRASE": "a passphrase of tests"}
PAGE = (REPOSITORY / "docs/backup.md").read_text(encoding="utf-8")
FOLDERS = ("new", "cur", "done")


def command(stack: Stack, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the README in the stack's checkout."""
    return subprocess.run(
        words,
        cwd=stack.checkout,
        env={**stack.environment, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def write_backup(stack: Stack, *options: str, **environment: str) -> tuple[Path, str]:
    ended = command(stack, "make", "backup", *options, **environment)
    assert ended.returncode == 0, ended.stderr
    (path,) = re.findall(r"^==> (.+\.tar) \(", ended.stdout, flags=re.MULTILINE)
    return Path(path), ended.stdout


def requests_in(path: Path) -> dict[str, dict[str, Any]]:
    """The retrain requests in a backup by id; each is whole, and in one folder."""
    found: dict[str, dict[str, Any]] = {}
    with Archive(path).uncompressed("data.tar.gz") as stream, tarfile.open(fileobj=stream, mode="r|") as files:
        for member in files:
            folder, _, name = member.name.removeprefix("./retrain/").partition("/")
            if member.isreg() and folder in FOLDERS:
                record = json.load(files.extractfile(member))  # type: ignore[arg-type]
                assert record["id"] not in found
                assert name == f"{record['id']}.json"
                found[record["id"]] = record
    return found


def with_sorted_aliases(answer: Any) -> Any:
    """An answer of MLflow, which names aliases in no certain order."""
    if isinstance(answer, list):
        return [with_sorted_aliases(item) for item in answer]
    if not isinstance(answer, dict):
        return answer
    return {
        name: sorted(value, key=json.dumps) if name == "aliases" else with_sorted_aliases(value)
        for name, value in answer.items()
    }


def history(stack: Stack) -> dict[str, Any]:
    """What a stack remembers: its requests, versions, MLflow runs and ZenML runs."""
    mlflow = f"http://127.0.0.1:{stack.ports['MLFLOW_PORT']}/api/2.0/mlflow"
    versions = httpx.get(f"{mlflow}/model-versions/search", params={"max_results": 100}, timeout=30).json()
    experiments = httpx.get(f"{mlflow}/experiments/search", params={"max_results": 100}, timeout=30).json()
    ids = [experiment["experiment_id"] for experiment in experiments["experiments"]]
    runs = httpx.post(f"{mlflow}/runs/search", json={"experiment_ids": ids, "max_results": 1000}, timeout=30).json()
    zenml = stack.zenml("/runs?size=100&hydrate=true")["items"]
    return {
        "requests": httpx.get(f"{stack.url}/retrain", timeout=30).json(),
        "models": with_sorted_aliases(httpx.get(f"{mlflow}/registered-models/search", timeout=30).json()),
        "versions": with_sorted_aliases(versions),
        "experiments": experiments,
        "runs": runs,
        "pipelines": {run["id"]: (run["name"], run["body"]["status"], run["body"]["created"]) for run in zenml},
    }


def dashboards(stack: Stack, password: str) -> list[tuple[str, str]]:
    """Grafana's dashboards: id and title."""
    url = f"http://127.0.0.1:{stack.ports['GRAFANA_PORT']}/api/search"
    answer = httpx.get(url, params={"type": "dash-db"}, auth=("admin", password), timeout=10).raise_for_status()
    return sorted((board["uid"], board["title"]) for board in answer.json())


def predictions(stack: Stack) -> list[bytes]:
    """The answers for many rows, byte by byte, without their request ids."""
    answers = [httpx.post(f"{stack.url}/predict", json=row, timeout=10).raise_for_status().content for row in ROWS]
    return [answer[: answer.index(b'"request_id"')] for answer in answers]


class Source:
    """The stack that was backed up: the archive, and what the stack was at that moment."""

    def __init__(self, stack: Stack) -> None:
        stack.wait_until_healthy()
        if stack.predict()["model"]["version"] == "1":  # where this file runs alone
            assert stack.wait_for_end(stack.request_retrain())["state"] == "promoted"
        self.version = self._champion(stack)
        stack.wait_for_version(self.version)
        with stack.constant_load() as self.answers:
            self.archive, self.output = write_backup(stack, "SECRETS=1", **PASSPHRASE)
        self.env = (stack.checkout / ".env").read_bytes()
        self.predictions = predictions(stack)
        self.history = history(stack)

    def _champion(self, stack: Stack) -> str:
        url = f"http://127.0.0.1:{stack.ports['MLFLOW_PORT']}/api/2.0/mlflow/registered-models/alias"
        answer = httpx.get(url, params={"name": "iris", "alias": "champion"}, timeout=30)
        return str(answer.json()["model_version"]["version"])


@pytest.fixture(scope="module")
def source(stack: Stack) -> Source:
    return Source(stack)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A second checkout, with a project and ports of its own, in which nothing was started."""
    other = Stack(copy_checkout(tmp_path_factory.mktemp("another clone")), project=f"{PROJECT}-restored")
    other.environment["COMPOSE_PROFILES"] = "monitoring" if other.has_grafana else ""
    other.remove()
    try:
        yield other
    finally:
        other.remove()


def volumes(stack: Stack) -> list[str]:
    return [volume.name for volume in stack.docker.volumes.list() if volume.name.startswith(f"{stack.project}_")]


def test_predictions_are_answered_while_the_backup_is_written(source: Source) -> None:
    assert source.answers
    assert {answer.split()[0] for answer in source.answers} == {"200"}


def test_backup_is_whole_and_says_what_it_holds(source: Source) -> None:
    manifest = Archive(source.archive).check()
    assert manifest.aliases["iris"]["champion"] == source.version
    assert manifest.aliases["iris"].keys() >= {"champion", "challenger", "previous"}
    assert f"==> champion: {manifest.champions()}" in source.output
    assert source.archive.stat().st_mode & 0o777 == 0o600
    assert source.archive.parent.stat().st_mode & 0o777 == 0o700


def test_secrets_stand_nowhere_in_the_backup_but_encrypted(stack: Stack, source: Source) -> None:
    archive = Archive(source.archive)
    manifest = archive.check()
    secrets = [value.encode() for value in stack.secrets().values()]
    for name in manifest.members:
        if name.endswith(".gz"):
            with archive.uncompressed(name) as content:
                text = content.read()
        else:
            text = archive.content(name)
        assert [secret for secret in secrets if secret in text] == [], name
        assert PASSPHRASE["BACKUP_PASSPHRASE"].encode() not in text


@pytest.mark.usefixtures("source")
def test_requests_of_a_backup_during_a_training_are_whole(stack: Stack, tmp_path: Path) -> None:
    first = stack.request_retrain()
    wait_until("the training runs", lambda: stack.retrain(first)["state"] == "running")
    words = ["python3", "-m", "src.services.stack.backup", "--folder", str(tmp_path), "--wait-minutes", "10"]
    output, accepted = [], [first]
    with subprocess.Popen(
        words, cwd=stack.checkout, env=stack.environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            output.append(line)
            accepted.append(stack.request_retrain())
    assert process.returncode == 0
    assert output[0] == "==> waiting until the training that runs has ended\n"
    (path,) = tmp_path.iterdir()
    found = requests_in(path)
    assert found[first]["result"]["outcome"] == "promoted"  # the backup came after it
    assert accepted[1] in found
    assert {"result" in found[request_id] for request_id in accepted[1:] if request_id in found} == {False}
    assert {stack.wait_for_end(request_id)["state"] for request_id in accepted} == {"promoted"}


def test_restore_beside_the_running_stack_is_refused(stack: Stack, source: Source) -> None:
    before = {name: container.attrs["State"]["StartedAt"] for name, container in stack.containers().items()}
    ended = command(stack, "make", "restore", f"FILE={source.archive}")
    assert ended.returncode != 0
    assert f"error: the stack {PROJECT} runs here (" in ended.stderr
    assert {name: container.attrs["State"]["StartedAt"] for name, container in stack.containers().items()} == before


def test_damaged_backup_and_wrong_passphrase_change_nothing(other: Stack, source: Source, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tar"
    raw = source.archive.read_bytes()
    damaged.write_bytes(raw[: len(raw) // 2] + b"?" + raw[len(raw) // 2 + 1 :])
    ended = command(other, "make", "restore", f"FILE={damaged}")
    assert (ended.returncode, "is not a whole backup" in ended.stderr) == (2, True)
    ended = command(other, "make", "restore", f"FILE={source.archive}", "SECRETS=1", BACKUP_PASSPHRASE="x" * 20)
    assert (ended.returncode, "not the passphrase" in ended.stderr) == (2, True)
    assert (volumes(other), (other.checkout / ".env").exists()) == ([], False)


def without_own(stack: Stack, env: bytes) -> list[bytes]:
    """The lines of a .env without the stack's name and ports, which a restore takes from the environment.

    Line ends do not count: another test file may have left those of Windows.
    """
    own = [f"{name}=".encode() for name in ("COMPOSE_PROJECT_NAME", *stack.ports)]
    return [line for line in env.splitlines() if not line.startswith(tuple(own))]


def project_in_another_shell(stack: Stack) -> str:
    """The project that docker compose works on in the checkout where the environment names none."""
    own = {"COMPOSE_PROJECT_NAME", *stack.ports}
    environment = {name: value for name, value in stack.environment.items() if name not in own}
    words = ["docker", "compose", "config", "--format", "json"]
    ended = subprocess.run(words, cwd=stack.checkout, env=environment, capture_output=True, text=True, check=True)
    config = json.loads(ended.stdout)
    (port,) = config["services"]["inference"]["ports"]
    assert port["published"] == str(stack.ports["INFERENCE_PORT"])
    return str(config["name"])


def test_killed_restore_is_repeated_after_the_command_that_it_names(other: Stack, source: Source) -> None:
    words = ["make", "restore", f"FILE={source.archive}", "SECRETS=1"]
    environment = {**other.environment, **PASSPHRASE}
    with subprocess.Popen(
        words, cwd=other.checkout, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert any(line == "==> data: restored\n" for line in process.stdout)
        os.killpg(process.pid, signal.SIGKILL)
    assert without_own(other, (other.checkout / ".env").read_bytes()) == without_own(other, source.env)
    assert project_in_another_shell(other) == other.project
    ended = command(other, "make", "restore", f"FILE={source.archive}")
    assert ended.returncode != 0
    assert f"the stack {other.project} has data here" in ended.stderr
    named = ended.stderr[ended.stderr.index("docker compose") :].splitlines()[0]
    other.run(*named.split())
    (other.checkout / ".env").unlink()
    assert volumes(other) == []


def test_restored_stack_is_the_one_that_was_backed_up(other: Stack, stack: Stack, source: Source) -> None:
    ended = command(other, "make", "restore", f"FILE={source.archive}")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert not set(other.secrets().values()) & set(stack.secrets().values())
    assert other.unhealthy() == {}
    assert predictions(other) == source.predictions
    assert history(other) == source.history


def test_restored_grafana_has_the_dashboards_and_the_password_of_the_backup(other: Stack, stack: Stack) -> None:
    if not other.has_grafana:
        pytest.skip("no registry gives Grafana's image here: both stacks run without that one service")
    password = stack.secrets()["GRAFANA_ADMIN_PASSWORD"]
    found = dashboards(other, password)
    assert sorted(title for _, title in found) == ["Model", "Retraining", "Service"]
    assert found == dashboards(stack, password)


def test_restored_stack_trains_on(other: Stack) -> None:
    before = int(other.predict()["model"]["version"])
    ended = other.wait_for_end(other.request_retrain(), seconds=180)
    assert ended["state"] == "promoted"
    other.wait_for_version(ended["model_version"])
    assert int(ended["model_version"]) > before


def test_stack_that_is_down_is_backed_up_by_cron(other: Stack) -> None:
    version = other.predict()["model"]["version"]
    other.run("make", "down")
    (line,) = re.findall(r"```cron\n(?:[*0-9]+ ){5}(.*)\n```", PAGE)
    other.run("sh", "-c", line.replace("/srv/mlops-loop", f"'{other.checkout}'"))
    (path,) = (other.checkout / "backups").iterdir()
    assert Archive(path).check().champions() == f"iris version {version}"
    assert other.containers() == {}


def test_page_names_commands_that_this_file_runs() -> None:
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
    commands = "".join(blocks).replace("\\\n", " ").splitlines()
    lines = {re.sub(r"\b(FILE|\w+_NAME|\w+_PORT)=\S+", r"\1=…", " ".join(line.split())) for line in commands}
    ways_to_set_it = {line for line in lines if "export BACKUP_PASSPHRASE" in line}
    run_here = {"make backup", "make restore FILE=…", "make backup SECRETS=1", "make restore FILE=… SECRETS=1"}
    own = " ".join(f"{name}=…" for name in ("COMPOSE_PROJECT_NAME", *PORTS))  # in the environment of `other`
    assert lines - ways_to_set_it == run_here | {f"{own} make restore FILE=… SECRETS=1"}
