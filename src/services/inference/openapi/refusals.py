"""The OpenAPI descriptions of refusals before the routes."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

SCHEME = "WriteKey"


@dataclass(frozen=True)
class Refusals:
    """Adds the refusals before the routes to a document.

    Attributes:
        exempt: paths that are answered even under overload.
        writing: paths whose routes change something.
        keyed: those of ``writing`` that need a key.
    """

    exempt: Collection[str]
    writing: Collection[str]
    keyed: Collection[str]

    def describe(self, document: dict[str, Any]) -> None:
        """Add the refusals' descriptions; a route's own documentation of a status is kept."""
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if path in self.keyed and method != "get":
                    operation["security"] = [{SCHEME: []}]
                refused = self._of(path, method, has_body="requestBody" in operation)
                operation["responses"] = {
                    **{str(status): {"description": said} for status, said in refused.items()},
                    **operation["responses"],
                }
        if self.keyed:
            document["components"]["securitySchemes"] = {SCHEME: {"type": "http", "scheme": "bearer"}}

    def _of(self, path: str, method: str, *, has_body: bool) -> dict[int, str]:
        found = {400: "Host header not allowed (ALLOWED_HOSTS)"}
        if path not in self.exempt:
            found[503] = "Too many requests; Retry-After says when to try again"
        if has_body:
            found |= {408: "The request was not received completely in time", 415: "The body is compressed"}
        if method != "get" and path in self.writing:
            found[403] = "A browser sent it from a page of another site"
        if method != "get" and path in self.keyed:
            found[401] = "The bearer token is missing or wrong"
        return found
