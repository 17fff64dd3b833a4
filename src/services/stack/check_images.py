"""Asks the registries whether every pinned image exists, and for which architectures: ``make check-images``."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from src.services.stack.checkout import REPOSITORY
from src.services.stack.docker_cli import Docker
from src.services.stack.errors import NoAnswerError, StackError

WANTED = ("amd64", "arm64")
# Not: a program, such as a credential helper, that is "not found in $PATH".
_MISSING = re.compile(r"(?:^|: )not found\s*$|manifest unknown", re.IGNORECASE | re.MULTILINE)
_REFUSED = re.compile(r"\b401\b|\b403\b|denied|unauthorized|forbidden", re.IGNORECASE)
_TOO_MANY = re.compile(r"\b429\b|toomanyrequests|rate limit", re.IGNORECASE)
_SERVICE_IMAGE = re.compile(r"^ +image: (\S+)\n(?: +platform: linux/(\w+))?", re.MULTILINE)
_BASE_IMAGE = re.compile(r"^ARG PYTHON_IMAGE=(\S+)$", re.MULTILINE)


def main() -> int:
    """Print a table of the images; return 0, 1 (an image or an architecture is missing) or 3 (no registry answers)."""
    docker = Docker(REPOSITORY, os.environ)
    try:
        return check(docker, pinned_images(REPOSITORY), print)
    except NoAnswerError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command's own output
        return 3
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - as above
        return 1


def pinned_images(folder: Path) -> dict[str, tuple[str, ...]]:
    """The images of the Compose files and Dockerfiles in ``folder``, with the architectures that each must have."""
    found: dict[str, tuple[str, ...]] = {}
    for file in sorted(folder.glob("docker-compose*.yml")):
        for image, platform in _SERVICE_IMAGE.findall(file.read_text(encoding="utf-8")):
            found[image] = (platform,) if platform else WANTED
    for file in sorted((folder / "dockerfiles").glob("Dockerfile.*")):
        found.update(dict.fromkeys(_BASE_IMAGE.findall(file.read_text(encoding="utf-8")), WANTED))
    return found


def check(docker: Docker, images: dict[str, tuple[str, ...]], say: Callable[[str], object]) -> int:
    """Print one row for each image; return 1 where one is missing, refused or lacks an architecture, else 0.

    A registry that does not answer for one image is not asked for others.

    Args:
        docker: asks the registries, with the credentials of the Docker client.
        images: the architectures that each must have.
        say: takes each line of the output.

    Raises:
        NoAnswerError: a registry does not answer, which says nothing about its images, and the others are in order.
    """
    width = max(map(len, images), default=0)
    problems = 0
    silent: dict[str, NoAnswerError] = {}
    for image, wanted in images.items():
        found: list[str] = []
        try:
            if registry_of(image) in silent:
                raise silent[registry_of(image)]
            found = architectures(docker, image)
            verdict = _verdict(found, wanted)
            problems += verdict != "ok"
        except NoAnswerError as error:
            silent.setdefault(registry_of(image), error)
            verdict = "not checked"
        except RefusedError:
            verdict = "refused: there is no such image, or this login or network may not have it"
            problems += 1
        say(f"{image:{width}}  {verdict:14}  {', '.join(found)}".rstrip())
    if silent and not problems:
        raise next(iter(silent.values()))
    return 1 if problems else 0


def _verdict(found: list[str], wanted: tuple[str, ...]) -> str:
    lacking = [name for name in wanted if name not in found]
    if not found:
        return "does not exist"
    return f"lacks {', '.join(lacking)}" if lacking else "ok"


def registry_of(image: str) -> str:
    """The registry that an image's name means: its first part where that is a host, else Docker Hub."""
    host, slash, _ = image.partition("/")
    return host if slash and ("." in host or ":" in host or host == "localhost") else "docker.io"


class RefusedError(StackError):
    """A registry refuses to say anything about an image."""


def architectures(docker: Docker, image: str) -> list[str]:
    """The architectures of an image in its registry, sorted; none where there is no such image.

    Raises:
        NoAnswerError: the registry does not answer, or not so many requests.
        RefusedError: the registry refuses, as some do for an image that does not exist.
    """
    answer = docker.run("buildx", "imagetools", "inspect", "--format", "{{json .Image}}", image)
    if answer.code != 0:
        if _MISSING.search(answer.errors):
            return []
        if _TOO_MANY.search(answer.errors):
            raise NoAnswerError(
                f"the registry of {image} takes no more requests for now; docker login, or try again in some hours "
                f"({answer.last_error})"
            )
        if _REFUSED.search(answer.errors):
            raise RefusedError(answer.last_error)
        raise NoAnswerError(
            f"no registry answers for {image}; check the network and docker login ({answer.last_error})"
        )
    # Of an image for one platform its configuration, else the configurations by platform, such as linux/arm64/v8.
    configuration = json.loads(answer.output)
    if "architecture" in configuration:
        return [str(configuration["architecture"])]
    return sorted({platform.split("/")[1] for platform in configuration if platform.startswith("linux/")})


if __name__ == "__main__":
    sys.exit(main())
