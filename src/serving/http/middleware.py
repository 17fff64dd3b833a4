"""Middleware: request ids, metrics, guards, admission, body limits, and the response to unexpected errors."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.serving.http.bodies import Bodies
from src.serving.http.errors import INTERNAL_TEXT, StoppingError, error_response, refusal
from src.serving.http.front_protocol import BREATHER
from src.serving.http.guards import Guard, client_request_id, new_request_id
from src.serving.http.stopping import Stopping
from src.serving.models.admission import Admission, OverloadedError
from src.serving.watch.metrics import ServingMetrics

# A key in a request's state: when it was complete; None if it was turned away.
COMPLETE_AT = "complete_at"
CLOSE = (b"connection", b"close")
# The status, in the metrics only, of a request whose client disconnected before the response.
CLIENT_CLOSED = 499

logger = logging.getLogger(__name__)


@dataclass
class RequestContextMiddleware:
    """Gives each request an id, measures it, refuses what a guard refuses, and responds with 500 to unexpected errors.

    It must be the outermost one, so that every request has an id and is counted. The application gets HEAD requests as
    GET; the server sends their responses without bodies.
    """

    app: ASGIApp
    metrics: ServingMetrics
    template_of: Callable[[str], str]  # of the path of a request that does not reach the router
    guards: Sequence[Guard]  # called in this order, before the body is read
    stopping: Stopping  # if it has begun, responses close their connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = client_request_id(scope) or new_request_id()
        header = (b"x-request-id", request_id.encode())
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                close = (CLOSE,) if self.stopping.begun else ()
                message["headers"] = [*message.get("headers", ()), header, *close]
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                _end_response(state)  # at once, because the next request may follow before the application returns

        self.metrics.in_flight.inc()
        try:
            error = next((error for guard in self.guards if (error := guard(scope)) is not None), None)
            app = self.app if error is None else refusal(scope, error)
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
            self.metrics.in_flight.dec()
            self._measure(scope, status or CLIENT_CLOSED, started)
            _end_response(state)

    def _measure(self, scope: Scope, status: int, started: float) -> None:
        path: str | None = getattr(scope.get("route"), "path", None)
        route = self.template_of(scope["path"]) if path is None else path
        since = scope["state"].get(COMPLETE_AT, started)
        if since is None:  # without a duration, which would make an overloaded service look fast
            self.metrics.count_request(route, scope["method"], status)
        else:
            self.metrics.observe_request(route, scope["method"], status, time.perf_counter() - since)


def _end_response(state: dict[str, Any]) -> None:
    """Say once to the connection, if there is one, that the response is complete."""
    connection = state.pop("connection", None)
    if connection is not None:
        connection.answered()


@dataclass
class AdmissionMiddleware:
    """Receives bodies, and admits as many complete requests as can be answered in time.

    Further requests are turned away, before their bodies are received where that is possible.
    """

    app: ASGIApp
    admission: Admission
    turns: Callable[[Scope], Admission | None]  # separate admissions, as of large batches; None for most requests
    exempt: frozenset[str]  # fixed paths that are answered even under overload, without their bodies
    bodies: Bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, at once or after waiting, or turn it away."""
        if scope["type"] != "http" or scope["path"] in self.exempt:
            await self.app(scope, receive, send)
            return
        admission = self.turns(scope) or self.admission
        try:
            admission.require_room()
            async with self.bodies.received(scope, receive) as body:
                scope["state"][COMPLETE_AT] = time.perf_counter()
                # The route reports an incomplete body, without waiting for a separate admission.
                slots = admission if body.error is None else self.admission
                await slots.enter()
                try:
                    await self.app(scope, body.receive, send)
                finally:
                    slots.leave()
        except OverloadedError as error:
            scope["state"][COMPLETE_AT] = None
            await refusal(scope, error)(scope, receive, _slowly(send))


def _slowly(send: Send) -> Send:
    """Accept no other request on the connection for a moment, as some clients retry at once."""

    async def send_slowly(message: Message) -> None:
        if message["type"] == "http.response.body":
            await send({**message, "more_body": True})
            await asyncio.sleep(BREATHER)
            message = {"type": "http.response.body"}
        await send(message)

    return send_slowly
