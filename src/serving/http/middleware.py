"""Middleware: request ids, metrics, guards, admission, body limits, and the response to unexpected errors."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.serving.http.bodies import Bodies
from src.serving.http.errors import INTERNAL_TEXT, StoppingError, error_response, refusal
from src.serving.http.guards import Guards
from src.serving.http.overload import BREATHER
from src.serving.http.request_ids import request_id_from
from src.serving.http.route_templates import RouteTemplates
from src.serving.http.stopping import Stopping
from src.serving.models.admission import Admission, OverloadedError
from src.serving.watch.metrics import ServingMetrics

# Keys in a request's state: when it was complete, and whether it was turned away.
COMPLETE_AT = "complete_at"
IS_SHED = "is_shed"
CLOSE = (b"connection", b"close")
# The status, in the metrics only, of a request whose client disconnected before the response.
CLIENT_CLOSED = 499

# The separate admission of a request, such as a large batch; None for most.
Turns = Callable[[Scope], Admission | None]

logger = logging.getLogger(__name__)


class RequestContextMiddleware:
    """Gives each request an id, measures it, refuses what a guard refuses, and responds with 500 to unexpected errors.

    It must be the outermost one, so that every request has an id and is counted. The application gets HEAD requests as
    GET; the server sends their responses without bodies.

    Args:
        app: the inner application.
        metrics: records every request.
        templates: the routes' templates, for requests that do not reach the router.
        guards: called in this order, before the body is read.
        stopping: if it has begun, responses close their connections.
    """

    def __init__(
        self, app: ASGIApp, *, metrics: ServingMetrics, templates: RouteTemplates, guards: Guards, stopping: Stopping
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._templates = templates
        self._guards = guards
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = request_id_from(scope)
        header = (b"x-request-id", request_id.encode())
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                close = (CLOSE,) if self._stopping.begun else ()
                message["headers"] = [*message.get("headers", ()), header, *close]
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                _end_response(state)  # at once, because the next request may follow before the application returns

        self._metrics.in_flight.inc()
        try:
            error = next((error for guard in self._guards if (error := guard.refusal(scope)) is not None), None)
            app = self._app if error is None else refusal(scope, error)
            await app({**scope, "method": "GET"} if scope["method"] == "HEAD" else scope, receive, send_with_id)
        except ClientDisconnect:
            logger.debug("request %s: the client disconnected", request_id)
        except asyncio.CancelledError:  # the server's grace period is over: answer the client once
            if status:
                raise
            logger.warning("request %s was not complete when the service stopped", request_id)
            await refusal(scope, StoppingError())(scope, receive, send_with_id)
        except Exception:  # the outermost frame of a request: respond to the client and log the traceback
            logger.exception("request %s failed", request_id)
            if status:
                raise
            await error_response(scope, 500, INTERNAL_TEXT)(scope, receive, send_with_id)
        finally:
            self._metrics.in_flight.dec()
            self._measure(scope, status or CLIENT_CLOSED, started)
            _end_response(state)

    def _measure(self, scope: Scope, status: int, started: float) -> None:
        path: str | None = getattr(scope.get("route"), "path", None)
        route = self._templates.of(scope["path"]) if path is None else path
        method, state = scope["method"], scope["state"]
        if IS_SHED in state:  # without a duration, which would make an overloaded service look fast
            self._metrics.count_request(route, method, status)
        else:
            self._metrics.observe_request(route, method, status, time.perf_counter() - state.get(COMPLETE_AT, started))


def _end_response(state: dict[str, Any]) -> None:
    """Say once to the connection, if there is one, that the response is complete."""
    connection = state.pop("connection", None)
    if connection is not None:
        connection.answered()


class AdmissionMiddleware:
    """Receives bodies, and admits as many complete requests as can be answered in time.

    Further requests are turned away, before their bodies are received where that is possible.

    Args:
        app: the inner application.
        admission: the admission of most requests.
        turns: the separate admissions of some requests.
        exempt: fixed paths that are answered even under overload, without their bodies.
        bodies: receives the bodies.
    """

    def __init__(
        self, app: ASGIApp, admission: Admission, turns: Turns, exempt: frozenset[str], bodies: Bodies
    ) -> None:
        self._app = app
        self._admission = admission
        self._turns = turns
        self._exempt = exempt
        self._bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, at once or after waiting, or turn it away."""
        if scope["type"] != "http" or scope["path"] in self._exempt:
            await self._app(scope, receive, send)
            return
        admission = self._turns(scope) or self._admission
        try:
            admission.require_room()
            async with self._bodies.received(scope, receive) as body:
                scope["state"][COMPLETE_AT] = time.perf_counter()
                # The route reports an incomplete body, without waiting for a separate admission.
                slots = admission if body.error is None else self._admission
                await slots.enter()
                try:
                    await self._app(scope, body.receive, send)
                finally:
                    slots.leave()
        except OverloadedError as error:
            await self._turn_away(error, scope, receive, send)

    async def _turn_away(self, error: OverloadedError, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, and accept no other on its connection for a moment, as some clients retry at once."""
        scope["state"][IS_SHED] = True

        async def send_slowly(message: Message) -> None:
            if message["type"] == "http.response.body":
                await send({**message, "more_body": True})
                await asyncio.sleep(BREATHER)
                message = {"type": "http.response.body"}
            await send(message)

        await refusal(scope, error)(scope, receive, send_slowly)
