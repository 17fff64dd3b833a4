"""Limits of the size of a request's body."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import Scope


@dataclass(frozen=True)
class BodyLimits:
    """Limits in bytes.

    Attributes:
        usual: the limit of most routes.
        others: limits of single routes by fixed path.
    """

    usual: int
    others: Mapping[str, int]

    def of(self, scope: Scope) -> int:
        """The limit for a request."""
        return self.others.get(scope["path"], self.usual)


def announced_length(scope: Scope) -> int:
    """The announced length in bytes; 0 if there is none (the server has refused invalid ones)."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
