"""The folder with docker-compose.yml and ``.env``, and Docker as it is run there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from src.services.stack import dotenv_text, variables
from src.services.stack.docker_cli import Docker
from src.services.stack.env_file import EnvFile

REPOSITORY = Path(__file__).resolve().parents[3]
PASSPHRASE = "BACKUP_PASSPHRASE"  # noqa: S105 - a variable's name


class Checkout:
    """A checkout in ``folder``, with the real ``environment``."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.env_file = EnvFile(folder / ".env")

    def file_values(self) -> dict[str, str]:
        """The variables of ``.env``."""
        return dotenv_text.values(self.env_file.read() or "")

    def docker(self) -> Docker:
        """Docker with ``.env`` as it is now."""
        file = self.file_values()
        hidden = variables.secret_values(file, self.environment)
        environment = {name: value for name, value in self.environment.items() if name != PASSPHRASE}
        return Docker(self.folder, variables.child_environment(file, environment), hidden)
