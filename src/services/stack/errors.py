"""Errors of the set-up of the Compose stack."""

from __future__ import annotations


class StackError(Exception):
    """A problem that the user must fix; the message says how, in one line and without secrets.

    Not a ``LoopError``: ``src.core`` needs a newer Python than the host may have.
    """


class NoAnswerError(StackError):
    """Nothing answers at an address yet; a retry may succeed."""
