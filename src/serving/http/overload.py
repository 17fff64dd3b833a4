"""Refuses complete requests beyond those that may be in work, at a tenth of the application's cost."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from urllib.parse import unquote

from src.serving.http.errors import Headers, refusal_bytes
from src.serving.http.request_head import client_request_id, new_request_id
from src.serving.http.request_parser import NOTHING, RequestParser
from src.serving.models.admission import QUEUE_FULL, OverloadedError
from src.serving.watch.metrics import ServingMetrics

# Seconds for which a client that was turned away is not read, as some clients retry at once.
BREATHER = 0.1


@dataclass(frozen=True)
class Overload:
    """The limit of requests in work."""

    metrics: ServingMetrics
    template_of: Callable[[str], str]  # the route of a path
    max_requests: int  # in work and in the queue
    exempt: Collection[str]  # fixed paths that are answered even under overload

    def refusal(self, request: RequestParser, in_work: int, default_headers: Headers) -> bytes | None:
        """The response, as it is sent, to a request while ``in_work`` others are; None if the application may get it.

        Refused are complete requests only, if they are the only ones of a connection that continues.
        """
        if in_work < self.max_requests or request.begun > 1 or request.part != NOTHING or not request.keeps_alive:
            return None
        path = unquote(request.url.partition(b"?")[0].decode("latin-1"))
        if path in self.exempt or not path.startswith("/"):
            return None
        self.metrics.shed(QUEUE_FULL)
        # Without a duration, which would make an overloaded service look fast.
        self.metrics.count_request(self.template_of(path), request.method.decode("latin-1"), 503)
        request_id = client_request_id({"headers": request.headers}) or new_request_id()
        response = refusal_bytes(OverloadedError(), request_id, path, default_headers)
        return b"%b%b" % response.partition(b"\r\n\r\n")[:2] if request.method == b"HEAD" else response
