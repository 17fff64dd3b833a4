"""All routes of the service, with their paths, methods and statuses."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import chain

from fastapi import APIRouter
from fastapi.routing import APIRoute

from src.services.inference.routes import (
    alerts,
    documentation,
    health,
    invocations,
    open_inference,
    page,
    predict,
    retrain,
    rollback,
)
from src.serving.http.guards import READING
from src.serving.http.route_templates import RouteTemplates, with_head
from src.serving.watch.metrics import RouteInfo

# Fixed paths of the routes that change something. Predictions do not.
WRITING = frozenset({"/retrain", "/rollback"}) | page.WRITING
# Alertmanager's route, which has a separate token.
ALERTING = frozenset({"/alerts"})
# The statuses that any route may return: refused, overloaded, and failed.
ANYWHERE = (400, 408, 503, 500)
WITH_BODY = (*ANYWHERE, 415)


class Catalogue:
    """The served routes.

    Args:
        alert_retrain: whether Alertmanager's route is served.

    Attributes:
        templates: finds the route of a path.
        exempt: fixed paths that are answered even under overload.
    """

    def __init__(self, *, alert_retrain: bool) -> None:
        # The busiest first: routes are tried in this order.
        predictions = [predict, invocations, open_inference]
        modules = [*predictions, health, retrain, rollback, page, documentation]
        if alert_retrain:
            modules.append(alerts)
        self.routers: list[APIRouter] = [module.router for module in modules]
        self.templates = RouteTemplates(self.routers)
        self.exempt = RouteTemplates([health.router]).fixed

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
        found = [RouteInfo(path, "POST", (401, 403)) for path in self.templates.fixed & (WRITING | ALERTING)]
        for route, method in self._operations():
            anyway = ANYWHERE if method in READING else WITH_BODY
            found.append(RouteInfo(route.path, method, (route.status_code or 200, *map(int, route.responses), *anyway)))
        return found

    def _operations(self) -> Iterator[tuple[APIRoute, str]]:
        for route in chain.from_iterable(router.routes for router in self.routers):
            if isinstance(route, APIRoute):
                yield from ((route, method) for method in with_head(route.methods or set()))
