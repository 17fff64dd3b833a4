"""File-system calls that kill the caller, or find the disk full, at a chosen one among them."""

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

# What the spool's operations are made of, also through pathlib.
CALLS = ("listdir", "lstat", "stat", "open", "read", "fsync", "rename", "unlink")


class Killed(BaseException):
    """The process dies here: nothing catches it, nothing cleans up."""


@dataclass
class Fault:
    """Strikes at the ``at``-th call from 0; ``when`` is before or after the call takes effect.

    ``error`` is an errno for a call that fails; None kills: from there on no call has any effect.
    ``only_space``: count only calls that need space on the disk.
    ``owner`` and ``names``: what has these calls, and which they are.
    ``only_reads``: whether the call that was struck changes nothing, so that before and after it are the same.
    """

    at: int
    when: str = "before"
    error: int | None = None
    only_space: bool = False
    owner: object = os
    names: Sequence[str] = CALLS
    calls: int = field(default=0, init=False)
    struck: bool = field(default=False, init=False)
    only_reads: bool = field(default=False, init=False)

    @contextlib.contextmanager
    def injected(self) -> Iterator[None]:
        """Have this fault within the block."""
        with contextlib.ExitStack() as stack:
            for name in self.names:
                stack.enter_context(patch.object(self.owner, name, self._faulty(name, getattr(self.owner, name))))
            yield

    def _faulty(self, name: str, call: Any) -> Any:
        def replacement(*arguments: Any, **options: Any) -> Any:
            if self.struck and self.error is None:
                raise Killed
            if self.only_space and not needs_space(name, arguments):
                return call(*arguments, **options)
            number, self.calls = self.calls, self.calls + 1
            if number != self.at:
                return call(*arguments, **options)
            self.struck, self.only_reads = True, self.owner is os and is_read(name, arguments)
            if self.error is not None:
                raise OSError(self.error, os.strerror(self.error))
            if self.when == "after":
                result = call(*arguments, **options)
                if self.owner is os and name == "open":
                    os.close(result)  # the kernel closes a dead process's files
            raise Killed

        return replacement


def needs_space(name: str, arguments: tuple[Any, ...]) -> bool:
    """Whether this call of ``os`` can find the disk full."""
    return name in {"fsync", "rename"} or (name == "open" and bool(arguments[1] & os.O_CREAT))


def is_read(name: str, arguments: tuple[Any, ...]) -> bool:
    """Whether this call of ``os`` leaves all files as they are."""
    return name in {"listdir", "lstat", "stat", "read"} or (name == "open" and not arguments[1] & os.O_CREAT)


def full_disk(at: int) -> Fault:
    """The disk is full at the ``at``-th call that needs space."""
    return Fault(at, error=errno.ENOSPC, only_space=True)


def bad_disk(at: int) -> Fault:
    """The ``at``-th call fails with an I/O error."""
    return Fault(at, error=errno.EIO)
