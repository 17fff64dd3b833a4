"""Around every request: its id, its metrics, its body's limit, and an answer when the service itself fails."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterable

import uuid_utils
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.services.inference.watch.metrics import ServingMetrics
from src.services.inference.web.admission import Admission, OverloadedError
from src.services.inference.web.body_limits import BodyLimits, announced_length
from src.services.inference.web.errors import (
    INTERNAL_TEXT,
    BodyTooLargeError,
    StoppingError,
    error_response,
    refusal,
    request_id_of,
)
from src.services.inference.web.guards import Guard
from src.services.inference.web.route_templates import RouteTemplates

REQUEST_ID_PATTERN = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# Where the HTTP protocol leaves the error with which a request ends whose body does not come in whole.
CUT = "cut"
# The client went away before its answer; nobody sees this status but the metrics.
CLIENT_CLOSED = 499

logger = logging.getLogger(__name__)


class RequestContextMiddleware:
    """Gives each request an id, measures it, and answers 500 where all else failed.

    It must be the outermost one: what it does not see has no id and no metric.

    Args:
        app: what is inside.
        metrics: told of every request.
        templates: of the routes of requests that do not get as far as the router.
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
            logger.debug("request %s: the client went away", request_id)
        except asyncio.CancelledError:  # the server's grace on stopping is over: the client shall know, once
            if status:
                raise
            logger.warning("request %s was still coming in when the service stopped", request_id)
            await refusal(request_id, StoppingError())(scope, receive, send_with_id)
        except Exception:  # the outermost frame of a request: the client gets an answer, the log the traceback
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
    """Refuses what a guard refuses, before anybody reads its body.

    Args:
        app: what is inside.
        guards: asked in this order.
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
    """Lets as many requests in as can be answered in time; turns the others away before anybody reads their bodies.

    Args:
        app: what is inside.
        admission: who counts.
        turns: another one who counts in its place, for requests that take long; None for most.
        exempt: fixed paths that are always answered.
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
        """Pass one request on, now or when its turn comes, or turn it away."""
        if scope["type"] != "http" or scope["path"] in self._exempt:
            await self._app(scope, receive, send)
            return
        # What the HTTP protocol has cut gets its answer without a turn.
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
    """Refuses a body over the limit, by its announced length or while it comes in, before anything parses it.

    Args:
        app: what is inside.
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
            # Raised to the route that reads the body, so that the mapping of errors answers it.
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
    """The caller's own id where it is fit to be logged, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID_PATTERN.fullmatch(value):
            return str(value.decode())
    return new_request_id()


def new_request_id() -> str:
    """An id that no other request has."""
    return str(uuid_utils.uuid7())
