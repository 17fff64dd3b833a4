"""What stops the set-up of the Compose stack."""

from __future__ import annotations


class StackError(Exception):
    """Something that the user has to mend; the message says what and how, in one line and without a secret.

    Not a ``LoopError``: ``src.core`` needs a newer Python than the host may have.
    """


class NoAnswerError(StackError):
    """Nothing answers at an address yet; asking again may help."""
