"""``make check-images`` against a registry that answers as the public ones do, through the real docker program."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.services.stack.check_images import check
from src.services.stack.docker_cli import Docker
from src.services.stack.errors import NoAnswerError
from tests.support import http_server
from tests.support.fake_registry import FakeRegistry

pytestmark = pytest.mark.docker
BOTH = ("amd64", "arm64")


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    server = FakeRegistry()
    with http_server.serving(server):
        yield server


def checked(folder: Path, registry: str, *names: str, wanted: tuple[str, ...] = BOTH) -> tuple[int, list[str]]:
    lines: list[str] = []
    code = check(Docker(folder, os.environ), {f"{registry}/{name}:1.0": wanted for name in names}, lines.append)
    return code, [" ".join(line.split()[1:]) for line in lines]


def test_tokens_manifest_lists_and_single_manifests_are_read(tmp_path: Path, registry: FakeRegistry) -> None:
    assert checked(tmp_path, registry.address, "whole") == (0, ["ok amd64, arm64"])
    assert checked(tmp_path, registry.address, "half", "single", wanted=("amd64",)) == (0, ["ok amd64"] * 2)


def test_missing_architecture_tag_and_repository_are_reported(tmp_path: Path, registry: FakeRegistry) -> None:
    refused = "refused: there is no such image, or this login or network may not have it"
    assert checked(tmp_path, registry.address, "half", "single", "absent", "nowhere", "private", "whole") == (
        1,
        ["lacks arm64 amd64", "lacks arm64 amd64", "does not exist", refused, refused, "ok amd64, arm64"],
    )


@pytest.mark.parametrize(
    ("name", "message"), [("limited", "takes no more requests for now"), ("broken", "no registry answers")]
)
def test_registry_that_does_not_serve_is_no_missing_image(
    tmp_path: Path, registry: FakeRegistry, name: str, message: str
) -> None:
    with pytest.raises(NoAnswerError, match=message):
        checked(tmp_path, registry.address, name, "whole")


def test_registry_that_cannot_be_reached_is_no_missing_image(tmp_path: Path) -> None:
    with pytest.raises(NoAnswerError, match=r"no registry answers for 127\.0\.0\.1:9/whole"):
        checked(tmp_path, "127.0.0.1:9", "whole")
