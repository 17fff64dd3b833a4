"""The OpenAPI descriptions of refusals before the routes."""

from collections.abc import Iterable
from typing import Any

SCHEME = "WriteKey"
UNTRUSTED_HOST = "Host header not allowed (ALLOWED_HOSTS)"
OVERLOADED = "Too many requests; Retry-After says when to try again"
TOO_SLOW = "The request was not received completely in time"
COMPRESSED = "The body is compressed"
CROSS_SITE = "A browser sent it from a page of another site"
NO_KEY = "The bearer token is missing or wrong"


class Refusals:
    """Adds the refusals before the routes to a document.

    Args:
        exempt: paths that are answered even under overload.
        writing: paths whose routes change something.
        keyed: those of ``writing`` that need a key.
    """

    def __init__(self, *, exempt: Iterable[str], writing: Iterable[str], keyed: Iterable[str]) -> None:
        self._exempt = frozenset(exempt)
        self._writing = frozenset(writing)
        self._keyed = frozenset(keyed)

    def describe(self, document: dict[str, Any]) -> None:
        """Add the refusals' descriptions; a route's own documentation of a status is kept."""
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
            found |= {408: TOO_SLOW, 415: COMPRESSED}
        if path in self._writing and method != "get":
            found[403] = CROSS_SITE
        if keyed:
            found[401] = NO_KEY
        return found
