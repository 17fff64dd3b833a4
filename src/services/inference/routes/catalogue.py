"""Every route of the service, and what is known of them before a request comes."""

from collections import defaultdict
from functools import cached_property

from fastapi import APIRouter
from fastapi.routing import APIRoute

from src.services.inference.routes import (
    alerts,
    batch,
    documentation,
    health,
    invocations,
    metrics,
    open_inference,
    page,
    predict,
    retrain,
    rollback,
)
from src.services.inference.watch.metrics import RouteInfo
from src.services.inference.web.route_templates import RouteTemplates

# Fixed paths of the routes that change something. Predictions do not.
WRITING = frozenset({"/retrain", "/rollback"}) | page.WRITING
# Alertmanager's, with a token of its own.
ALERTING = frozenset({"/alerts"})
# What any route may answer, whatever it documents: refused, turned away, and failed.
ANYWHERE = (400, 408, 503, 500)


class Catalogue:
    """The routes that are served.

    Args:
        alert_retrain: whether Alertmanager's is.
    """

    def __init__(self, *, alert_retrain: bool) -> None:
        # The busiest first: routes are tried in this order.
        self.routers: tuple[APIRouter, ...] = (
            predict.router,
            batch.router,
            invocations.router,
            open_inference.router,
            health.router,
            retrain.router,
            rollback.router,
            metrics.router,
            page.router,
            documentation.router,
            *((alerts.router,) if alert_retrain else ()),
        )
        self.templates = RouteTemplates(self.routers)
        # Fixed paths that are always answered.
        self.exempt = RouteTemplates((health.router, metrics.router)).fixed

    @cached_property
    def routes(self) -> list[APIRoute]:
        """All of them, in their order."""
        return [route for router in self.routers for route in router.routes if isinstance(route, APIRoute)]

    @property
    def methods(self) -> dict[str, set[str]]:
        """Every method of each path."""
        methods = defaultdict[str, set[str]](set)
        for route in self.routes:
            methods[route.path] |= route.methods or set()
        return dict(methods)

    @property
    def infos(self) -> list[RouteInfo]:
        """Each route with the statuses that it documents, those of any, and of those that write."""
        refused = [RouteInfo(path, "POST", (401, 403)) for path in (WRITING | ALERTING) & self.templates.fixed]
        return refused + [
            RouteInfo(route.path, method, (route.status_code or 200, *map(int, route.responses), *ANYWHERE))
            for route in self.routes
            for method in route.methods or ()
        ]
