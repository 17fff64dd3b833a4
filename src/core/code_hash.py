"""The SHA-256 of a folder's Python code, to compare the code of two processes or two trainings."""

import hashlib
from pathlib import Path


def code_sha256(folder: Path) -> str:
    """The SHA-256, in hexadecimal, of all ``.py`` files below the folder, by relative path and content.

    Line endings count as ``\\n``, so that a checkout on another system has the same hash.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).as_posix()):
        content = file.read_bytes().replace(b"\r\n", b"\n")
        # With the length, so that no content can imitate the next file's name.
        digest.update(f"{file.relative_to(folder).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
