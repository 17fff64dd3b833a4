"""docs/containers.md says of every foreign image what the Compose files say."""

import re
from typing import Any

import yaml

from src.services.local.processes import REPOSITORY
from src.services.stack.check_images import pinned_images

PAGE = (REPOSITORY / "docs/containers.md").read_text(encoding="utf-8")


class Loader(yaml.SafeLoader):
    """Reads Compose's own tags as what they stand before."""


Loader.add_multi_constructor("!", lambda *_: None)


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for file in REPOSITORY.glob("docker-compose*.yml"):
        read = yaml.load(file.read_text(encoding="utf-8"), Loader)  # noqa: S506 - a SafeLoader
        found |= {name: service for name, service in read["services"].items() if "image" in service}
    return found


def rows() -> list[list[str]]:
    table = PAGE.partition("| service |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def written(service: dict[str, Any]) -> set[str]:
    volumes = [volume.split(":")[1] for volume in service.get("volumes", []) if isinstance(volume, str)]
    bound = [volume.split(":")[1] for volume in service.get("volumes", []) if str(volume).startswith("./")]
    return {*volumes, *(path.split(":")[0] for path in service.get("tmpfs", []))} - set(bound)


def test_every_foreign_image_has_its_row_with_version_and_architectures() -> None:
    documented = {f"{row[1].strip('`')}:{row[2]}": tuple(row[3].split(", ")) for row in rows()}
    assert documented == pinned_images(REPOSITORY)


def test_every_service_of_a_foreign_image_has_its_row_with_user_writes_and_limits() -> None:
    documented = {row[0].strip("`"): row for row in rows() if row[0].startswith("`")}
    assert set(documented) == set(services())
    for name, service in services().items():
        _, image, version, _, user, writes, memory, processes = documented[name]
        assert f"{image.strip('`')}:{version}" == service["image"]
        assert user == service["user"] if "user" in service else ":" not in user
        assert set(re.findall(r"/[\w/.-]+", writes)) == written(service)
        assert ("its own root" in writes) is not service["read_only"]
        assert [memory, processes] == [service["mem_limit"], str(service["pids_limit"])]
