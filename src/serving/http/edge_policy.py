"""Limits and routeless responses that the application gives to the HTTP protocol."""

from collections.abc import Iterable

from starlette.responses import Response
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from src.core.errors import LoopError
from src.serving.http.errors import refusal
from src.serving.http.middleware import new_request_id, request_id_from
from src.serving.http.route_templates import RouteTemplates
from src.serving.http.slow_clients import ClientTimeouts
from src.serving.http.stopping import Stopping
from src.serving.http.uploads import Bodies
from src.serving.models.admission import QUEUE_FULL, OverloadedError
from src.serving.watch.metrics import ServingMetrics


class EdgePolicy:
    """The limits and responses shared by all connections.

    Args:
        timeouts: time-outs of slow clients.
        bodies: limits of bodies, and the memory for incoming ones.
        metrics: records requests that are answered or closed here.
        templates: the routes' templates, for the metrics.
        max_requests: the most running and queued requests; further ones are turned away.
        exempt: fixed paths that are answered even under overload.
    """

    def __init__(  # noqa: PLR0913 - the parts of the application that act before its routes
        self,
        timeouts: ClientTimeouts,
        bodies: Bodies,
        metrics: ServingMetrics,
        templates: RouteTemplates,
        *,
        max_requests: int,
        exempt: Iterable[str],
    ) -> None:
        self.timeouts = timeouts
        self.bodies = bodies
        self.stopping = Stopping()
        self._metrics = metrics
        self._templates = templates
        self.max_requests = max_requests
        self._exempt = frozenset(exempt)

    def sheds(self) -> None:
        """Count a request whose body found no memory."""
        self._metrics.shed(QUEUE_FULL)

    def turns_away(self, scope: Scope) -> Response | None:
        """The response to a request beyond ``max_requests``; None if its path is exempt."""
        if scope["path"] in self._exempt:
            return None
        self._metrics.shed(QUEUE_FULL)
        # Without a duration, which would make an overloaded service look fast.
        self._metrics.count_request(self._templates.of(scope["path"]), scope["method"], 503)
        return _answer(request_id_from(scope), OverloadedError(), scope["path"])

    def answers_without_request(self, error: LoopError) -> Response:
        """The response to an incomplete head."""
        return _answer(new_request_id(), error, "")

    def cuts(self, reason: str) -> None:
        """Count a client that is disconnected for one of ``CUT_REASONS``."""
        self._metrics.cut(reason)


def wire_format(response: Response, default_headers: Iterable[tuple[bytes, bytes]], *, close: bool) -> bytes:
    """A response in wire format."""
    content = [STATUS_LINE[response.status_code]]
    for name, value in (*default_headers, *response.raw_headers):
        content += (name, b": ", value, b"\r\n")
    content += (b"connection: close\r\n\r\n" if close else b"\r\n", bytes(response.body))
    return b"".join(content)


def _answer(request_id: str, error: LoopError, path: str) -> Response:
    response = refusal(request_id, error).shaped_for(path)
    response.headers["x-request-id"] = request_id
    return response
