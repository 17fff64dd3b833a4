"""How large a request's body may be."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import Scope


@dataclass(frozen=True)
class BodyLimits:
    """Limits in bytes.

    Attributes:
        usual: of most routes.
        others: fixed path to that route's own.
    """

    usual: int
    others: Mapping[str, int]

    def of(self, scope: Scope) -> int:
        """The limit for a request."""
        return self.others.get(scope["path"], self.usual)


def announced_length(scope: Scope) -> int:
    """The announced length in bytes; 0 where there is none (a server has refused nonsense already)."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
