"""Middleware: request ids, metrics, guards, admission, body limits, and the response to unexpected errors."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterable

import uuid_utils
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.serving.http.body_limits import BodyLimits, announced_length
from src.serving.http.errors import (
    INTERNAL_TEXT,
    BodyTooLargeError,
    StoppingError,
    error_response,
    refusal,
    request_id_of,
)
from src.serving.http.guards import Guard
from src.serving.http.route_templates import RouteTemplates
from src.serving.models.admission import Admission, OverloadedError
from src.serving.watch.metrics import ServingMetrics

REQUEST_ID_PATTERN = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# The key in the request's state under which the HTTP protocol stores the error of an incomplete body.
CUT = "cut"
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
    """

    def __init__(self, app: ASGIApp, metrics: ServingMetrics, templates: RouteTemplates) -> None:
        self._app = app
        self._metrics = metrics
        self._templates = templates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = request_id_from(scope)
        header = (b"x-request-id", request_id.encode())
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

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
            seconds = time.perf_counter() - started
            self._metrics.observe_request(self._route(scope), scope["method"], status or CLIENT_CLOSED, seconds)

    def _route(self, scope: Scope) -> str:
        path: str | None = getattr(scope.get("route"), "path", None)
        return self._templates.of(scope["path"]) if path is None else path


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
    """Admits as many requests as can be answered in time; turns others away before their bodies are read.

    Args:
        app: the inner application.
        admission: the admission of most requests.
        turns: a separate admission for some requests, such as large batches; None for the others.
        exempt: fixed paths that are answered even under overload.
    """

    def __init__(
        self,
        app: ASGIApp,
        admission: Admission,
        turns: Callable[[Scope], Admission | None],
        exempt: frozenset[str],
    ) -> None:
        self._app = app
        self._admission = admission
        self._turns = turns
        self._exempt = exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, at once or after waiting, or turn it away."""
        if scope["type"] != "http" or scope["path"] in self._exempt:
            await self._app(scope, receive, send)
            return
        # An incomplete request is refused without waiting for a separate admission.
        turns = None if CUT in scope["state"] else self._turns(scope)
        admission = turns or self._admission
        try:
            await admission.enter()
        except OverloadedError as error:
            await refusal(request_id_of(scope), error)(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            admission.leave()


class BodyLimitMiddleware:
    """Refuses a body over the limit, by its announced length or while it is received, before it is parsed.

    Args:
        app: the inner application.
        limits: by route.
    """

    def __init__(self, app: ASGIApp, limits: BodyLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on with a counted body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limits.of(scope)
        announced = announced_length(scope)
        state = scope["state"]
        taken = 0

        async def receive_within_limit() -> Message:
            nonlocal taken
            # Raised in the route that reads the body, so that the error is mapped as any other.
            if announced > limit:
                raise BodyTooLargeError(limit)
            message = await receive()
            if CUT in state:
                raise state[CUT]
            taken += len(message.get("body", b""))
            if taken > limit:
                raise BodyTooLargeError(limit)
            return message

        await self._app(scope, receive_within_limit, send)


def request_id_from(scope: Scope) -> str:
    """The client's request id if it is valid, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID_PATTERN.fullmatch(value):
            return str(value.decode())
    return new_request_id()


def new_request_id() -> str:
    """A new unique id."""
    return str(uuid_utils.uuid7())
