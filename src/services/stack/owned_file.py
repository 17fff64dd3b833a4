"""Files of the checkout that a command writes: replaced in one step, and with sudo still its owner's."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Write a file, or the target of a symbolic link, in one step and with mode 0600.

    Raises:
        OSError: it cannot be written, or is read-only; it is then unchanged.
    """
    target = path.resolve()
    exists = target.exists()
    owner = (target if exists else target.parent).stat()
    if exists and not owner.st_mode & stat.S_IWUSR:
        raise PermissionError(errno.EPERM, "it is read-only")
    descriptor, name = tempfile.mkstemp(prefix=f"{target.name}.", suffix=".tmp", dir=target.parent)  # with mode 0600
    scratch = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        keep_owner(scratch, owner)
        scratch.replace(target)
    except BaseException:
        scratch.unlink()
        raise


def keep_owner(path: Path, owner: os.stat_result) -> None:
    """With sudo, give a file or folder to this owner, who runs docker compose next. Raises OSError."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid)
