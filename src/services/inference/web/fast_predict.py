"""The short cut for the busiest request: one plain record is answered before it becomes a task.

Records that come in during one turn of the event loop share one call of the model. Only what is certain to succeed is
answered here, so every refusal, every rare form and every failure has one place, the ordinary route, and both give the
same bytes.
"""

import logging
import time
from typing import NamedTuple, Protocol

from starlette.types import Scope

from src.core.feature_table import Row
from src.services.inference.formats.media_types import is_json
from src.services.inference.formats.schemas import encode_answer
from src.services.inference.model.model_store import ModelStore
from src.services.inference.model.predictor import Predictor
from src.services.inference.model.shared_turn import SharedTurn, is_quick
from src.services.inference.watch.metrics import ServingMetrics
from src.services.inference.web.admission import Admission
from src.services.inference.web.guards import HostGuard
from src.services.inference.web.middleware import request_id_from
from src.services.inference.web.stopping import Stopping

ROUTE = "/predict"
# Longer records are rare, and looking at one in vain, as all that is refused here, must cost little.
MAX_BYTES = 1 << 14
# The exact form that most clients send.
JSON = b"application/json"

logger = logging.getLogger(__name__)


class Connection(Protocol):
    """Whose request it is."""

    def answer(self, asked: "Asked", body: bytes) -> bool:
        """Send the answer to what was taken; false where it goes the ordinary way by now, or nobody waits for it."""

    def take_ordinary_way(self, asked: "Asked") -> None:
        """Give what was taken to the application."""

    def abort(self) -> None:
        """End it without an answer."""


class Asked(NamedTuple):
    """A record that waits for the end of this turn."""

    connection: Connection
    predictor: Predictor
    row: Row
    request_id: str
    since: float


class FastPredict:
    """Takes plain records from all connections and answers them at the end of the turn.

    Args:
        store: holds the model.
        hosts: says whether a request comes by one of the service's names.
        admission: says whether a request may be taken up at once.
        stopping: says whether the service stops.
        metrics: told of every request that is answered here.
        most: records that may wait; what comes beyond them takes the ordinary way.
        max_body_bytes: a longer body does, too.
    """

    def __init__(  # noqa: PLR0913 - the parts of the route that it stands for
        self,
        *,
        store: ModelStore,
        hosts: HostGuard,
        admission: Admission,
        stopping: Stopping,
        metrics: ServingMetrics,
        most: int,
        max_body_bytes: int,
    ) -> None:
        self._store = store
        self._hosts = hosts
        self._admission = admission
        self._stopping = stopping
        self._metrics = metrics
        self._most = most
        self._turn = SharedTurn[Asked](self._answer)
        self.max_body_bytes = max_body_bytes

    def take(self, connection: Connection, scope: Scope, body: bytes) -> Asked | None:
        """Take a whole request, to be answered in this turn; None if it is not plain."""
        since = time.perf_counter()
        predictor = self._store.current
        if (
            predictor is None
            or len(self._turn) >= self._most
            or len(body) > self.max_body_bytes
            or not _is_json(scope)
            or not is_quick(predictor, 1)
            or self._stopping.begun
            or not self._admission.has_room
            or not self._hosts.allows(scope)
        ):
            return None
        row = predictor.decoder.decode_or_none(body)
        if row is None:
            return None
        asked = Asked(connection, predictor, row, request_id_from(scope), since)
        self._turn.add(asked)
        return asked

    def _answer(self, predictor: Predictor, batch: list[Asked]) -> None:
        try:
            answers = predictor.answer([asked.row for asked in batch])
            bodies = [
                encode_answer(answer, predictor.model_name, asked.request_id)
                for asked, answer in zip(batch, answers, strict=True)
            ]
        except Exception:  # noqa: BLE001 - it fails again in the route, for one of them, which tells and logs it
            for asked in batch:
                try:
                    asked.connection.take_ordinary_way(asked)
                except Exception as error:  # noqa: BLE001 - as below
                    _end(asked, error)
            return
        for asked, answer, body in zip(batch, answers, bodies, strict=True):
            try:
                if asked.connection.answer(asked, body):
                    self._metrics.traffic.note(predictor, asked.row, answer)
                    self._metrics.observe_request(ROUTE, "POST", 200, time.perf_counter() - asked.since)
            except Exception as error:  # noqa: BLE001 - one connection's trouble is no other's
                _end(asked, error)


def _end(asked: Asked, error: Exception) -> None:
    """Tell the log and the client of what nobody expects; those behind it would wait for ever if it went further."""
    logger.error("request %s failed", asked.request_id, exc_info=error)
    asked.connection.abort()


def _is_json(scope: Scope) -> bool:
    """Whether the body is declared as JSON or as nothing."""
    for name, value in scope["headers"]:
        if name == b"content-type" and value != JSON and not is_json(value.decode("latin-1")):
            return False
    return True
