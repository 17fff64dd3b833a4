import re
import threading
import time
from pathlib import Path

import pytest

from src.services.stack import docker_cli
from src.services.stack.docker_cli import Docker
from src.services.stack.errors import StackError
from tests.unit.services.stack.fakes import REQUIRED, FakeDocker

FULL = dict.fromkeys(REQUIRED, "given")


def cli(docker: FakeDocker, **environment: str) -> Docker:
    return Docker(docker.folder, {**docker.environment, **environment}, ["s3cret"])


def test_run_blots_every_secret_out_of_the_errors(docker: FakeDocker) -> None:
    docker.answers("info", "s3cret\n", errors="first\nno s3cret here\n\n", code=3)
    answer = cli(docker).run("info")
    assert (answer.code, answer.output, answer.last_error) == (3, "s3cret\n", "no *** here")


def test_run_reports_the_code_where_nothing_was_said(docker: FakeDocker) -> None:
    docker.answers("info", code=7)
    assert cli(docker).run("info").last_error == "exit code 7"


def test_run_does_not_wait_for_ever(docker: FakeDocker) -> None:
    docker.answers("info", seconds=60)
    with pytest.raises(StackError, match=r"docker info has not answered for .* restart Docker"):
        cli(docker).run("info", seconds=0.3)


def test_follow_passes_on_each_line_without_secrets(docker: FakeDocker) -> None:
    docker.answers("up", "one\n", errors="two s3cret\n", code=1)
    heard: list[str] = []
    answer = cli(docker).follow("compose", "up", echo=heard.append, hopeless=lambda: False)
    assert heard == ["one", "two ***"]
    assert (answer.code, answer.errors) == (1, "one\ntwo ***")


def test_follow_ends_what_has_become_hopeless(docker: FakeDocker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_cli, "_SECONDS_BETWEEN_LOOKS", 0.01)
    docker.answers("up", "waiting\n", seconds=60)
    begun = threading.Event()
    answer = cli(docker).follow("compose", "up", echo=lambda _: begun.set(), hopeless=begun.is_set)
    assert answer.code < 0


def test_follow_takes_the_child_along_when_interrupted(docker: FakeDocker) -> None:
    docker.answers("up", "waiting\n", seconds=60)

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cli(docker).follow("compose", "up", echo=interrupt, hopeless=lambda: False)


def test_follow_misses_the_program(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="there is no docker program on the PATH"):
        Docker(tmp_path, {"PATH": str(tmp_path)}).follow("up", echo=print, hopeless=lambda: False)


def test_stack_is_what_compose_makes_of_it(docker: FakeDocker) -> None:
    stack = cli(docker, **FULL).stack()
    assert (stack.name, stack.variable("zenml", "ZENML_DEFAULT_USER_PASSWORD")) == ("loop", "given")


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ("no configuration file provided: not found\n", "there is no docker-compose.yml in .*; run this in a complete"),
        ("service zenml: s3cret is odd\n", r"docker compose refuses docker-compose.yml or .env: service zenml: \*\*\*"),
        (
            'failed to read /x/.env: line 3: unexpected character "%" in variable name "pass%=hidden"\n',
            "docker compose cannot read .env, line 3: write NAME=value",
        ),
        ("failed to read /x/.env: line 2: unterminated quoted value 'hidden\nhidden\n", "read .env, line 2: write"),
    ],
)
def test_stack_says_what_compose_refuses(docker: FakeDocker, errors: str, message: str) -> None:
    docker.answers("config", errors=errors, code=1)
    with pytest.raises(StackError, match=message) as caught:
        cli(docker).stack()
    assert not re.search("hidden|s3cret", str(caught.value))


def test_running_services_are_read_line_by_line(docker: FakeDocker) -> None:
    assert cli(docker).running_services() == {"mysql", "zenml"}
    docker.answers("compose ps", "\n")
    assert cli(docker).running_services() == set()


def test_running_services_says_that_it_cannot_know(docker: FakeDocker) -> None:
    docker.answers("compose ps", errors="boom\n", code=1)
    with pytest.raises(StackError, match="docker compose ps failed: boom"):
        cli(docker).running_services()


def test_piped_command_gives_its_output_and_waits_for_its_end(docker: FakeDocker) -> None:
    docker.answers("cp", "words")
    with cli(docker).piped("cp", "here", "-") as pipes:
        assert pipes.output.read() == b"words"


def piped(docker: FakeDocker, *, given: int = 0, error: str = "") -> None:
    """Write so many bytes to a command, and then fail."""
    with cli(docker).piped("cp", "-", "there") as pipes:
        for _ in range(given // 100_000):
            pipes.input.write(bytes(100_000))
        if error:
            raise StackError(error)


def test_piped_command_that_fails_says_why(docker: FakeDocker) -> None:
    docker.answers("cp", errors="no such container\n", code=1)
    with pytest.raises(StackError, match="docker cp - failed: no such container"):
        piped(docker)


def test_piped_command_that_ends_before_it_has_read_its_input_says_why(docker: FakeDocker) -> None:
    docker.answers("cp", errors="no space left on device\n", code=1)
    with pytest.raises(StackError, match="no space left on device"):
        piped(docker, given=100_000_000)


def test_error_beside_a_piped_command_ends_it(docker: FakeDocker) -> None:
    docker.answers("cp", seconds=60)
    started = time.monotonic()
    with pytest.raises(StackError, match="stop"):
        piped(docker, error="stop")
    assert time.monotonic() - started < 30
