"""A fast path for the most frequent requests: a single row is predicted without creating a task.

Rows that arrive in the same iteration of the event loop share one call of the model. Only valid, common requests
are handled here. Invalid and rare ones, and all failures, are handled by the ordinary route. Both give the same bytes.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from src.core.feature_table import FeatureTable, Row
from src.core.prediction_log import Role
from src.serving.http.guards import Guard, announced_length, client_request_id, new_request_id
from src.serving.http.stopping import Stopping
from src.serving.models.admission import Admission
from src.serving.models.inference_scheduler import OnFailure, SharedTurn
from src.serving.models.model_store import ModelStore
from src.serving.models.predictor import Predictor
from src.serving.models.version_choice import Headers, VersionChoice
from src.serving.protocols.single_rows import ROUTED, SingleRow
from src.serving.tables.answers import Answer
from src.serving.watch.metrics import ServingMetrics

if TYPE_CHECKING:  # it imports this module
    from src.serving.http.front_protocol import FrontProtocol

# A longer head is parsed every time.
MAX_KNOWN_BYTES = 1 << 11

logger = logging.getLogger(__name__)


class PlainHead(NamedTuple):
    """The head of a request that ``FastPredict`` may take."""

    route: SingleRow
    length: int  # the body's announced length in bytes; 0 if there is none
    request_id: str | None  # the client's, if it has sent one
    headers: Headers = ()


class KnownHead:
    """The last ``plain`` head of a connection, to recognize it again: most clients repeat theirs, byte for byte."""

    plain: PlainHead
    _start, _size = b"", 0

    def remember(self, request: bytes, body: bytes, plain: PlainHead) -> None:
        """Recognize the head of this complete request from now on, if it announces the body's length.

        The parser ignores line ends behind a body: of a request that ends with one, the body's position is unknown.
        """
        start = request[: -len(body)]
        is_last = not request.endswith((b"\r", b"\n"))
        if body and len(body) == plain.length and len(start) <= MAX_KNOWN_BYTES and is_last:
            self._start, self._size, self.plain = start, len(request), plain

    def body_of(self, data: bytes) -> bytes | None:
        """The body, if the data are a complete request with the same head."""
        if len(data) != self._size or not data.startswith(self._start):
            return None
        return data[len(self._start) :]


class PendingPrediction(NamedTuple):
    """A row that waits for the end of this loop iteration."""

    connection: "FrontProtocol"
    predictor: Predictor
    row: Row
    details: Any
    request_id: str
    since: float
    route: SingleRow


@dataclass(eq=False, kw_only=True)
class FastPredict:
    """Takes single rows from all connections and predicts them at the end of the loop iteration."""

    routes: Mapping[str, SingleRow]  # by path
    store: ModelStore
    choice: VersionChoice
    guards: Sequence[Guard]
    admission: Admission
    stopping: Stopping
    metrics: ServingMetrics
    max_pending: int  # further rows take the ordinary route
    max_body_bytes: int  # and so do longer bodies
    on_failure: OnFailure  # gets rows of which a canary fails on at least one

    def __post_init__(self) -> None:
        self._turn = SharedTurn[PendingPrediction](self._answer)

    def plain_head(self, target: bytes, headers: list[tuple[bytes, bytes]]) -> PlainHead | None:
        """What ``take`` needs of the head of a POST request by HTTP/1.1; None if its route handles it.

        It depends on nothing else: the same head may be passed to ``take`` again.
        """
        path = target.decode("latin-1")
        route = self.routes.get(path)
        if route is None:
            return None
        for name, value in headers:
            if (name == b"content-type" and not route.takes_type(value)) or name in ROUTED:
                return None
        scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": path, "headers": headers}
        length = announced_length(scope)
        if length > self.max_body_bytes or any(guard(scope) for guard in self.guards):
            return None
        return PlainHead(route, length, client_request_id(scope), headers)

    def take(self, connection: "FrontProtocol", head: PlainHead, body: bytes) -> PendingPrediction | None:
        """Take a complete request, to be answered in this loop iteration; None if its route handles it."""
        since = time.perf_counter()
        predictor = self.store.current
        if (
            predictor is None
            or self._turn.size >= self.max_pending
            or len(body) > self.max_body_bytes
            or self.stopping.begun
            or not self.admission.has_room
        ):
            return None
        request_id = head.request_id or new_request_id()
        try:
            if self.choice.canary is not None:
                predictor = self.choice.of(
                    head.headers, request_id, lambda champion: head.route.decode(champion, body)[0]
                )
            if not predictor.cost.is_quick:
                return None
            row, details = head.route.decode(predictor, body)
        except Exception:  # noqa: BLE001 - the route decodes it again, and reports or logs the error
            return None
        if row is None:
            return None
        pending = PendingPrediction(connection, predictor, row, details, request_id, since, head.route)
        self._turn.add(predictor, pending)
        return pending

    def _answer(self, predictor: Predictor, batch: list[PendingPrediction]) -> None:
        answers: Sequence[Answer | None]
        try:
            answers = found = predictor.answer([pending.row for pending in batch])
            bodies = [
                pending.route.encode(predictor, answer, pending.details, pending.request_id)
                for pending, answer in zip(batch, found, strict=True)
            ]
        except Exception:  # noqa: BLE001 - the request that caused it fails again in the route, which reports and logs it
            if predictor.role is Role.CANARY:  # in the route, another id may choose the champion
                self.on_failure(predictor, FeatureTable.from_rows(predictor.schema, [item.row for item in batch]))
            answers, bodies = [None] * len(batch), [b""] * len(batch)
        for pending, answer, body in zip(batch, answers, bodies, strict=True):
            try:
                if answer is None:
                    pending.connection.take_ordinary_way(pending)
                elif pending.connection.answer(pending, body):
                    self.metrics.traffic.note(predictor, pending.row, answer, pending.request_id)
                    seconds = time.perf_counter() - pending.since
                    self.metrics.observe_request(pending.route.template, "POST", 200, seconds)
            except Exception:  # raising it would leave the other requests unanswered
                logger.exception("request %s failed", pending.request_id)
                pending.connection.transport.abort()
