import json
import re
from pathlib import Path

import pytest

from src.services.local.processes import REPOSITORY
from src.services.stack.check_images import check, main, pinned_images
from src.services.stack.docker_cli import Docker
from src.services.stack.errors import NoAnswerError
from tests.unit.services.stack.fakes import FakeDocker

BOTH = json.dumps({"linux/amd64": {}, "linux/arm64/v8": {}, "linux/386": {}, "unknown/unknown": {}})


@pytest.fixture
def fake(tmp_path: Path) -> FakeDocker:
    return FakeDocker(tmp_path / "bin", {})


def checked(fake: FakeDocker, **images: tuple[str, ...]) -> tuple[int, list[str]]:
    said: list[str] = []
    return check(Docker(fake.folder, fake.environment), images, said.append), said


def test_every_image_of_the_stack_is_checked_for_the_architectures_it_needs() -> None:
    images = pinned_images(REPOSITORY)
    assert {name.partition(":")[0] for name in images} == {
        "mysql",
        "zenmldocker/zenml-server",
        "ghcr.io/mlflow/mlflow",
        "haproxy",
        "prom/prometheus",
        "prom/alertmanager",
        "prom/blackbox-exporter",
        "prom/node-exporter",
        "prom/mysqld-exporter",
        "grafana/grafana",
        "python",
    }
    assert [name for name, wanted in images.items() if wanted == ("amd64",)] == ["zenmldocker/zenml-server:0.98.0"]
    assert set(images.values()) == {("amd64",), ("amd64", "arm64")}


def test_images_with_every_architecture_are_ok(fake: FakeDocker) -> None:
    fake.answers("inspect", BOTH)
    assert checked(fake, one=("amd64", "arm64"), other=("amd64",)) == (
        0,
        ["one    ok              386, amd64, arm64", "other  ok              386, amd64, arm64"],
    )


def test_image_that_lacks_an_architecture_is_reported_and_the_rest_is_checked(fake: FakeDocker) -> None:
    fake.answers("{{json .Image}} one", json.dumps({"architecture": "amd64", "os": "linux"}))
    fake.answers("{{json .Image}} other", BOTH)
    assert checked(fake, one=("amd64", "arm64"), other=("amd64", "arm64")) == (
        1,
        ["one    lacks arm64     amd64", "other  ok              386, amd64, arm64"],
    )


@pytest.mark.parametrize("error", ["ERROR: docker.io/x:1: not found", "manifest unknown"])
def test_image_that_does_not_exist_is_reported(fake: FakeDocker, error: str) -> None:
    fake.answers("inspect", errors=error, code=1)
    assert checked(fake, one=("amd64",)) == (1, ["one  does not exist"])


@pytest.mark.parametrize("error", ["401 Unauthorized", "403 Forbidden", "denied: no such repository"])
def test_refused_image_is_reported_as_such(fake: FakeDocker, error: str) -> None:
    fake.answers("inspect", errors=error, code=1)
    code, said = checked(fake, one=("amd64",))
    assert (code, said) == (1, ["one  refused: there is no such image, or this login or network may not have it"])


def test_rate_limit_is_no_missing_image(fake: FakeDocker) -> None:
    fake.answers("inspect", errors="ERROR: unexpected status from HEAD request to x: 429 Too Many Requests", code=1)
    with pytest.raises(NoAnswerError, match=r"one takes no more requests for now; docker login, or try again"):
        checked(fake, one=("amd64",))


def test_registry_that_does_not_answer_is_asked_once_and_the_others_are_checked(fake: FakeDocker) -> None:
    fake.answers("ghcr.example/three", BOTH)
    fake.answers("inspect", errors="no such host", code=1)
    said: list[str] = []
    images = {"one": ("amd64",), "user/two": ("amd64",), "ghcr.example/three": ("amd64",)}
    with pytest.raises(NoAnswerError, match="no registry answers for one"):
        check(Docker(fake.folder, fake.environment), images, said.append)
    assert [line.split()[1:3] for line in said] == [["not", "checked"], ["not", "checked"], ["ok", "386,"]]
    assert len(fake.said()) == 2


def test_missing_image_counts_more_than_a_registry_that_does_not_answer(fake: FakeDocker) -> None:
    fake.answers("ghcr.example/two", errors="not found", code=1)
    fake.answers("inspect", errors="no such host", code=1)
    images = {"one": ("amd64",), "ghcr.example/two": ("amd64",)}
    assert check(Docker(fake.folder, fake.environment), images, print) == 1


@pytest.mark.parametrize(
    "error",
    [
        "ERROR: dial tcp: lookup registry-1.docker.io: no such host",
        'error getting credentials - err: exec: "docker-credential-desktop": executable file not found in $PATH',
        'exec: "docker-credential-desktop": executable file not found in $PATH',
    ],
)
def test_registry_that_does_not_answer_is_no_missing_image(fake: FakeDocker, error: str) -> None:
    fake.answers("inspect", errors=error, code=1)
    expected = f"no registry answers for one; check the network and docker login ({error})"
    with pytest.raises(NoAnswerError, match=re.escape(expected)):
        checked(fake, one=("amd64",))


@pytest.mark.parametrize(("errors", "code"), [("no such host", 3), ("not found", 1)])
def test_exit_code_tells_a_missing_image_from_a_missing_registry(
    fake: FakeDocker, errors: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.answers("inspect", errors=errors, code=1)
    monkeypatch.setenv("PATH", fake.environment["PATH"])
    assert main() == code


def test_missing_docker_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "")
    assert main() == 1
    assert capsys.readouterr().err.startswith("error: there is no docker program on the PATH")
