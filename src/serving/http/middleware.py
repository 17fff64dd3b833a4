"""Middleware: request ids, metrics, guards, admission, body limits, and the response to unexpected errors."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.serving.http.bodies import Bodies, IncomingBody
from src.serving.http.errors import INTERNAL_TEXT, StoppingError, error_response, refusal, request_id_of
from src.serving.http.guards import Guard
from src.serving.http.overload import BREATHER
from src.serving.http.request_ids import request_id_from
from src.serving.http.route_templates import RouteTemplates
from src.serving.http.stopping import Stopping
from src.serving.models.admission import Admission, OverloadedError
from src.serving.watch.metrics import ServingMetrics

# Keys in a request's state: when it was complete, and whether it was turned away.
COMPLETE_AT = "complete_at"
IS_SHED = "is_shed"
# Seconds for which no further request is accepted from a client that was turned away.
CLOSE = (b"connection", b"close")
# The status, in the metrics only, of a request whose client disconnected before the response.
CLIENT_CLOSED = 499

logger = logging.getLogger(__name__)


class RequestContextMiddleware:
    """Gives each request an id, measures it, and responds with 500 to unexpected errors.

    It must be the outermost one, so that every request has an id and is counted.

    Args:
        app: the inner application.
        metrics: records every request.
        templates: the routes' templates, for requests that do not reach the router.
        stopping: if it has begun, responses close their connections.
    """

    def __init__(self, app: ASGIApp, metrics: ServingMetrics, templates: RouteTemplates, stopping: Stopping) -> None:
        self._app = app
        self._metrics = metrics
        self._templates = templates
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
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            logger.debug("request %s: the client disconnected", request_id)
        except asyncio.CancelledError:  # the server's grace period is over: answer the client once
            if status:
                raise
            logger.warning("request %s was not complete when the service stopped", request_id)
            await refusal(request_id, StoppingError())(scope, receive, send_with_id)
        except Exception:  # the outermost frame of a request: respond to the client and log the traceback
            logger.exception("request %s failed", request_id)
            if status:
                raise
            await error_response(request_id, 500, INTERNAL_TEXT)(scope, receive, send_with_id)
        finally:
            self._metrics.in_flight.dec()
            self._measure(scope, status or CLIENT_CLOSED, started)
            _end_response(state)

    def _measure(self, scope: Scope, status: int, started: float) -> None:
        route, method, state = self._route(scope), scope["method"], scope["state"]
        if IS_SHED in state:  # without a duration, which would make an overloaded service look fast
            self._metrics.count_request(route, method, status)
        else:
            self._metrics.observe_request(route, method, status, time.perf_counter() - state.get(COMPLETE_AT, started))

    def _route(self, scope: Scope) -> str:
        path: str | None = getattr(scope.get("route"), "path", None)
        return self._templates.of(scope["path"]) if path is None else path


def _end_response(state: dict[str, Any]) -> None:
    """Say once to the connection, if there is one, that the response is complete."""
    connection = state.pop("connection", None)
    if connection is not None:
        connection.answered()


class GuardMiddleware:
    """Refuses what a guard refuses, before the body is read.

    Args:
        app: the inner application.
        guards: called in this order.
    """

    def __init__(self, app: ASGIApp, guards: Iterable[Guard]) -> None:
        self._app = app
        self._guards = tuple(guards)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or refuse it."""
        if scope["type"] == "http":
            for guard in self._guards:
                error = guard.refusal(scope)
                if error is not None:
                    await refusal(request_id_of(scope), error)(scope, receive, send)
                    return
        await self._app(scope, receive, send)


class AdmissionMiddleware:
    """Receives bodies, and admits as many complete requests as can be answered in time.

    Further requests are turned away, before their bodies are received where that is possible.

    Args:
        app: the inner application.
        admission: the admission of most requests.
        turns: a separate admission for some requests, such as large batches; None for the others.
        exempt: fixed paths that are answered even under overload, without their bodies.
        bodies: receives the bodies.
    """

    def __init__(
        self,
        app: ASGIApp,
        admission: Admission,
        turns: Callable[[Scope], Admission | None],
        exempt: frozenset[str],
        bodies: Bodies,
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
                # The route reports an incomplete body, without waiting for a separate admission.
                await self._admit(scope, body, send, admission if body.error is None else self._admission)
        except OverloadedError as error:
            await self._turn_away(error, scope, receive, send)

    async def _admit(self, scope: Scope, body: IncomingBody, send: Send, admission: Admission) -> None:
        scope["state"][COMPLETE_AT] = time.perf_counter()
        await admission.enter()
        try:
            await self._app(scope, body.receive, send)
        finally:
            admission.leave()

    async def _turn_away(self, error: OverloadedError, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, and accept no other on its connection for a moment, as some clients retry at once."""
        scope["state"][IS_SHED] = True

        async def send_slowly(message: Message) -> None:
            if message["type"] == "http.response.body":
                await send({**message, "more_body": True})
                await asyncio.sleep(BREATHER)
                message = {"type": "http.response.body"}
            await send(message)

        await refusal(request_id_of(scope), error)(scope, receive, send_slowly)
