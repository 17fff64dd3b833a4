"""All routes of the service, with their paths, methods and statuses."""

from collections import defaultdict
from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.routing import APIRoute

from src.services.inference.routes import (
    alerts,
    audit,
    documentation,
    feedback,
    health,
    invocations,
    open_inference,
    page,
    predict,
    quality,
    retrain,
    rollback,
    rollouts,
)
from src.serving.http.guards import READING
from src.serving.watch.metrics import UNMATCHED, RouteInfo

# The routes that change something, by path or template. Predictions do not.
DECISIONS = frozenset({"/rollouts/{rollout_id}/approve", "/rollouts/{rollout_id}/reject"})
WRITING = frozenset({"/retrain", "/rollback", "/feedback"}) | DECISIONS | page.WRITING
# Alertmanager's route, which has a separate token.
ALERTING = frozenset({"/alerts"})
# The statuses that any route may return: refused, overloaded, and failed.
ANYWHERE = (400, 408, 503, 500)
WITH_BODY = (*ANYWHERE, 415)


class Catalogue:
    """The served routes, with Alertmanager's if ``alert_retrain``."""

    def __init__(self, *, alert_retrain: bool) -> None:
        # The busiest first: routes are tried in this order.
        predictions = [predict, invocations, open_inference]
        modules = [*predictions, health, feedback, quality, retrain]
        modules += [rollback, rollouts, audit, page, documentation]
        if alert_retrain:
            modules.append(alerts)
        self.routers: list[APIRouter] = [module.router for module in modules]
        self._routes = [route for router in self.routers for route in _routes_of(router)]
        self._fixed = frozenset(route.path for route in self._routes if "{" not in route.path)
        self._others = [route for route in self._routes if "{" in route.path]
        # Fixed paths that are answered even under overload.
        self.exempt = frozenset(route.path for route in _routes_of(health.router))

    def template_of(self, path: str) -> str:
        """The template that matches a path, or ``UNMATCHED``, because a raw path may contain anything."""
        if path in self._fixed:
            return path
        return next((route.path for route in self._others if route.path_regex.match(path)), UNMATCHED)

    @property
    def methods(self) -> dict[str, set[str]]:
        """All methods of each path."""
        methods = defaultdict[str, set[str]](set)
        for route, method in self._operations():
            methods[route.path].add(method)
        return dict(methods)

    @property
    def infos(self) -> list[RouteInfo]:
        """Each route with its documented statuses and those that any route, or any writing route, may return."""
        guarded = {route.path for route in self._routes} & (WRITING | ALERTING)
        found = [RouteInfo(path, "POST", (401, 403)) for path in guarded]
        for route, method in self._operations():
            anyway = ANYWHERE if method in READING else WITH_BODY
            found.append(RouteInfo(route.path, method, (route.status_code or 200, *map(int, route.responses), *anyway)))
        return found

    def _operations(self) -> Iterator[tuple[APIRoute, str]]:
        """The methods as clients see them: HEAD wherever there is GET."""
        for route in self._routes:
            for method in route.methods or ():
                yield route, method
                if method == "GET":
                    yield route, "HEAD"


def _routes_of(router: APIRouter) -> list[APIRoute]:
    return [route for route in router.routes if isinstance(route, APIRoute)]
