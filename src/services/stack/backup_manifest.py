"""The contents of a backup: the names of its members, and the manifest that describes them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from src.services.stack.errors import StackError

FORMAT = 1
MANIFEST = "manifest.json"
DATABASE = "mysql.sql.gz"
SECRETS = "env.encrypted"
# The volumes in a backup, with the service whose container has them. Prometheus's samples, Alertmanager's silences and
# what can be made again (model-cache, scratch) are not in it.
VOLUMES = {"data": "monitor", "mlflow": "mlflow", "zenml": "train-model", "grafana": "grafana"}
OPTIONAL_VOLUMES = ("grafana",)
# Secrets, by volume: the tokens of ZenML's client, which it keeps in its configuration folder.
LEFT_OUT = {"zenml": ("credentials.yaml",)}


def member_of(volume: str) -> str:
    """The name of the archive's member with a volume's files."""
    return f"{volume}.tar.gz"


REQUIRED_MEMBERS = (DATABASE, *(member_of(volume) for volume in VOLUMES if volume not in OPTIONAL_VOLUMES))
MEMBERS = (DATABASE, *map(member_of, VOLUMES), SECRETS)


@dataclass(frozen=True)
class Member:
    """A member's size in the archive, in bytes, and its SHA-256 in hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a backup holds, and of what stack.

    ``created``: in UTC, ISO 8601; ``images``: by service, as docker-compose.yml named them; ``aliases``: the
    versions of each registered model by alias.
    """

    created: str
    project: str
    images: dict[str, str]
    aliases: dict[str, dict[str, str]]
    members: dict[str, Member] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The manifest as the archive holds it."""
        content = {"format": FORMAT, **asdict(self)}
        return json.dumps({**content, "sha256": _checksum(content)}, indent=1).encode()

    @classmethod
    def from_json(cls, raw: bytes) -> Manifest:
        """Read a manifest.

        Raises:
            StackError: it is no manifest, or has a newer format.
        """
        try:
            content: dict[str, Any] = json.loads(raw)
            found = int(content["format"])
            if found != FORMAT:
                raise StackError(f"the backup has format {found}, this checkout reads {FORMAT}; use a newer checkout")
            _require(content.pop("sha256"), content)
            members = {
                str(name): Member(int(entry["size"]), str(entry["sha256"]))
                for name, entry in content["members"].items()
            }
            images = {str(name): str(image) for name, image in content["images"].items()}
            aliases = {
                str(name): {str(alias): str(version) for alias, version in versions.items()}
                for name, versions in content["aliases"].items()
            }
            return cls(str(content["created"]), str(content["project"]), images, aliases, members)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StackError("the backup's manifest is damaged; restore another backup") from error

    def champions(self) -> str:
        """The served version of each model, in words."""
        found = [
            f"{name} version {versions['champion']}"
            for name, versions in self.aliases.items()
            if "champion" in versions
        ]
        return ", ".join(found) or "none"


def _require(checksum: str, content: dict[str, Any]) -> None:
    if checksum != _checksum(content):
        raise ValueError("another checksum")


def _checksum(content: dict[str, Any]) -> str:
    """The SHA-256 of a manifest's content, in hexadecimal."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
