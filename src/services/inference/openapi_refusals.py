"""What the OpenAPI document says of refusals that come from in front of the routes."""

from collections.abc import Callable, Iterable
from typing import Any

from src.services.inference.openapi import ERROR

SCHEME = "WriteKey"
UNTRUSTED_HOST = "The Host header has no name that this service goes by (ALLOWED_HOSTS)"
OVERLOADED = "Too many requests are in work and wait; Retry-After says when to come again"
TOO_SLOW = "The request did not come in whole in time"
CROSS_SITE = "A browser sends it for a page of another site"
NO_KEY = "The bearer token is not the key that this needs"


def with_refusals(
    build: Callable[[], dict[str, Any]], *, exempt: Iterable[str], writing: Iterable[str], keyed: Iterable[str]
) -> Callable[[], dict[str, Any]]:
    """A function that builds a document and adds to it what is refused before a route sees it.

    Args:
        build: builds the document of the routes.
        exempt: paths that are never turned away as too many.
        writing: paths whose routes change something.
        keyed: those of them that need a key.
    """
    exempt, writing, keyed = frozenset(exempt), frozenset(writing), frozenset(keyed)

    def build_all() -> dict[str, Any]:
        schema = build()
        for path, operations in schema["paths"].items():
            for method, operation in operations.items():
                refusals = {400: UNTRUSTED_HOST}
                if path not in exempt:
                    refusals[503] = OVERLOADED
                if "requestBody" in operation:
                    refusals[408] = TOO_SLOW
                if path in writing and method != "get":
                    refusals[403] = CROSS_SITE
                if path in keyed and method != "get":
                    refusals[401] = NO_KEY
                    operation["security"] = [{SCHEME: []}]
                _add(operation["responses"], refusals)
        if keyed:
            schema["components"]["securitySchemes"] = {SCHEME: {"type": "http", "scheme": "bearer"}}
        return schema

    return build_all


def _add(responses: dict[str, Any], refusals: dict[int, str]) -> None:
    """What a route documents itself stays."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{ERROR}"}}}
    for status, description in refusals.items():
        responses.setdefault(str(status), {"description": description, "content": content})
