"""The ``.env`` file on disk: read, changed in one step, readable by its owner alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from src.services.stack import dotenv_text
from src.services.stack.errors import StackError
from src.services.stack.owned_file import keep_owner, replace_file

_HEADER = "# Made by setup_zenml_api_key.py for docker compose; .env.example lists all variables.\n"


class EnvFile:
    """One ``.env`` file, which need not exist yet; for a symbolic link, its target."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> str | None:
        """The file's text with its original line ends, or None if it does not exist.

        Raises:
            StackError: it is a directory, not UTF-8, or not readable.
        """
        try:
            return self._path.read_bytes().decode("utf-8")
        except FileNotFoundError:
            return None
        except IsADirectoryError as error:
            # Docker creates one if a container mounts a file that does not exist.
            raise StackError(f"{self._path} is a directory and must be a file; remove it: rmdir .env") from error
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise StackError(f"{self._path} is not UTF-8 (line {line}); save it as UTF-8") from error
        except OSError as error:
            raise StackError(f"cannot read {self._path} ({error.strerror}); make it readable for this user") from error

    def update(self, values: Mapping[str, str]) -> None:
        """Set these variables and rewrite the file with mode 0600; other content is kept.

        Without values, this checks whether the file can be written.

        Raises:
            StackError: it cannot be read or written; it is then unchanged.
        """
        text = self.read()
        new = dotenv_text.with_values(_HEADER if text is None else text, values)
        try:
            replace_file(self._path, new.encode("utf-8"))
        except OSError as error:
            raise StackError(
                f"cannot write {self._path} ({error.strerror}); make it and its folder writable for this user"
            ) from error

    def create(self, text: str) -> None:
        """Write the file where there is none, with mode 0600.

        Raises:
            StackError: it exists, or cannot be written.
        """
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(text.encode("utf-8"))
            keep_owner(self._path, self._path.parent.stat())
        except OSError as error:
            raise StackError(f"cannot write {self._path} ({error.strerror})") from error
