"""Finds the route of a path, for requests that are refused before the router."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from fastapi import APIRouter
from fastapi.routing import APIRoute

from src.serving.watch.metrics import UNMATCHED


class RouteTemplates:
    """The templates of all routes; a fixed path is its own template.

    Args:
        routers: in the order in which they are tried.
    """

    def __init__(self, routers: Iterable[APIRouter] = ()) -> None:
        routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
        self.fixed = frozenset(route.path for route in routes if "{" not in route.path)
        self._others = [(route.path_regex, route.path) for route in routes if "{" in route.path]

    def of(self, path: str) -> str:
        """The template that matches a path, or ``UNMATCHED``, because a raw path may contain anything."""
        if path in self.fixed:
            return path
        return next((template for pattern, template in self._others if pattern.match(path)), UNMATCHED)


def with_head(methods: AbstractSet[str]) -> set[str]:
    """A route's methods as its clients see them: HEAD wherever there is GET."""
    return {*methods, "HEAD"} if "GET" in methods else {*methods}
