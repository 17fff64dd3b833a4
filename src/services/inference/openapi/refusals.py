"""What the OpenAPI document says of refusals that come from in front of the routes."""

from collections.abc import Iterable
from typing import Any

SCHEME = "WriteKey"
UNTRUSTED_HOST = "The Host header has no name that this service goes by (ALLOWED_HOSTS)"
OVERLOADED = "Too many requests are in work and wait; Retry-After says when to come again"
TOO_SLOW = "The request did not come in whole in time"
CROSS_SITE = "A browser sends it for a page of another site"
NO_KEY = "The bearer token is not the key that this needs"


class Refusals:
    """Adds to a document of the routes what is refused before a route sees it.

    Args:
        exempt: paths that are never turned away as too many.
        writing: paths whose routes change something.
        keyed: those of them that need a key.
    """

    def __init__(self, *, exempt: Iterable[str], writing: Iterable[str], keyed: Iterable[str]) -> None:
        self._exempt = frozenset(exempt)
        self._writing = frozenset(writing)
        self._keyed = frozenset(keyed)

    def describe(self, document: dict[str, Any]) -> None:
        """Add the refusals, by their descriptions alone; what a route documents itself stays."""
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                keyed = path in self._keyed and method != "get"
                if keyed:
                    operation["security"] = [{SCHEME: []}]
                for status, description in self._of(path, method, operation, keyed=keyed).items():
                    operation["responses"].setdefault(str(status), {"description": description})
        if self._keyed:
            schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
            schemes[SCHEME] = {"type": "http", "scheme": "bearer"}

    def _of(self, path: str, method: str, operation: dict[str, Any], *, keyed: bool) -> dict[int, str]:
        found = {400: UNTRUSTED_HOST}
        if path not in self._exempt:
            found[503] = OVERLOADED
        if "requestBody" in operation:
            found[408] = TOO_SLOW
        if path in self._writing and method != "get":
            found[403] = CROSS_SITE
        if keyed:
            found[401] = NO_KEY
        return found
