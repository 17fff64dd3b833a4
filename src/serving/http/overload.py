"""Refuses complete requests beyond those that may be in work, at a tenth of the application's cost."""

import asyncio
from collections.abc import Iterable
from urllib.parse import unquote

from src.serving.http.request_ids import request_id_from
from src.serving.http.request_parser import NOTHING, RequestParser
from src.serving.http.route_templates import RouteTemplates
from src.serving.http.wire_format import Headers, error_response
from src.serving.models.admission import QUEUE_FULL, OverloadedError
from src.serving.watch.metrics import ServingMetrics

# Seconds for which a client that was turned away is not read, as some clients retry at once.
BREATHER = 0.1


class Overload:
    """The limit of requests in work.

    Args:
        metrics: counts refused requests.
        templates: the routes' templates, for the metrics.
        max_requests: the most requests in work and in the queue.
        exempt: fixed paths that are answered even under overload.
    """

    def __init__(
        self, metrics: ServingMetrics, templates: RouteTemplates, *, max_requests: int, exempt: Iterable[str]
    ) -> None:
        self._metrics = metrics
        self._templates = templates
        self._max_requests = max_requests
        self._exempt = frozenset(exempt)

    def refusal(self, request: RequestParser, in_work: int, default_headers: Headers) -> bytes | None:
        """The response to one request too many, in wire format; None if it may be passed to the application.

        Args:
            request: of the connection; it must be complete, the only one, and leave the connection open.
            in_work: the number of requests that the application works on.
            default_headers: of every response.
        """
        if in_work < self._max_requests or request.begun > 1 or request.part != NOTHING or not request.keeps_alive:
            return None
        path = unquote(request.url.partition(b"?")[0].decode("latin-1"))
        if path in self._exempt or not path.startswith("/"):
            return None
        self._metrics.shed(QUEUE_FULL)
        # Without a duration, which would make an overloaded service look fast.
        self._metrics.count_request(self._templates.of(path), request.method.decode("latin-1"), 503)
        request_id = request_id_from({"headers": request.headers})
        return error_response(OverloadedError(), request_id, path, default_headers)


def rest_from_reading(transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
    """Read nothing from a client that was turned away for ``BREATHER`` seconds."""

    def read_on() -> None:
        if not transport.is_closing():
            transport.resume_reading()

    transport.pause_reading()
    loop.call_later(BREATHER, read_on)
