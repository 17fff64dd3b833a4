"""The short cut for the busiest request: one plain record is answered before it becomes a task.

Records that come in during one turn of the event loop share one call of the model. Only what is certain to succeed is
answered here, so every refusal, every rare form and every failure has one place, the ordinary route, and both give the
same bytes.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from src.core.feature_table import Row
from src.services.inference.formats.media_types import is_json
from src.services.inference.formats.schemas import Answer, encode_answer
from src.services.inference.model.calls import INLINE_SECONDS, is_quick
from src.services.inference.model.model_store import ModelStore
from src.services.inference.model.predictor import Predictor
from src.services.inference.watch.metrics import ServingMetrics
from src.services.inference.web.admission import Admission
from src.services.inference.web.guards import HostGuard
from src.services.inference.web.http_protocol import PatientProtocol
from src.services.inference.web.middleware import request_id_from
from src.services.inference.web.slow_clients import BODY, NOTHING
from src.services.inference.web.stopping import Stopping

ROUTE = "/predict"
# The exact forms that almost every client sends.
TARGET = ROUTE.encode()
JSON = b"application/json"


class Asked(NamedTuple):
    """A record that waits for the end of this turn."""

    connection: "FastProtocol"
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
        self._limit = max_body_bytes
        self._waiting: list[Asked] = []

    def take(self, connection: "FastProtocol", scope: Scope, body: bytes) -> Asked | None:
        """Take a whole request, to be answered in this turn; None if it is not plain."""
        predictor = self._store.current
        if (
            predictor is None
            or len(self._waiting) >= self._most
            or len(body) > self._limit
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
        if not self._waiting:
            # Runs behind all that came in with this one. A lone record has nobody to wait for.
            asyncio.get_running_loop().call_soon(self._answer)
        asked = Asked(connection, predictor, row, request_id_from(scope), time.perf_counter())
        self._waiting.append(asked)
        return asked

    def _answer(self) -> None:
        """Answer what waits, one call per model: two where a swap came in between."""
        predictor = self._waiting[0].predictor
        most = predictor.cost.rows_within(INLINE_SECONDS)
        mine: list[Asked] = []
        others: list[Asked] = []
        for asked in self._waiting:
            (mine if asked.predictor is predictor and len(mine) < most else others).append(asked)
        self._waiting = others
        if others:  # what takes too long at once takes several turns
            asyncio.get_running_loop().call_soon(self._answer)
        try:
            answers = predictor.answer([asked.row for asked in mine])
            bodies = [
                encode_answer(answer, predictor.model_name, asked.request_id)
                for asked, answer in zip(mine, answers, strict=True)
            ]
        except Exception:  # noqa: BLE001 - it fails again in the route, for one of them, which tells and logs it
            for asked in mine:
                asked.connection.take_ordinary_way(asked)
            return
        for asked, answer, body in zip(mine, answers, bodies, strict=True):
            if asked.connection.answer(asked, body):
                self._note(asked, answer)

    def _note(self, asked: Asked, answer: Answer) -> None:
        self._metrics.traffic.note(asked.predictor, asked.row, answer)
        self._metrics.observe_request(ROUTE, "POST", 200, time.perf_counter() - asked.since)


class FastProtocol(PatientProtocol):
    """One connection.

    A request that may be plain is held back from the application until its end, which must have come in the same
    piece: then it is taken by ``FastPredict``, or goes the ordinary way as if nothing had been.
    """

    # Of the request that is held back.
    _plain_body: bytes | None = None
    # The same once it was taken.
    _asked: Asked | None = None

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._fast: FastPredict = app_state["service"].fast

    def on_message_begin(self) -> None:
        """Another request begins."""
        self._go_ordinary_way()  # sent ahead of the answer: the order of answers is the ordinary way's business
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A request's head is in."""
        if (
            self.url == TARGET
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
            and not self.expect_100_continue
            and not self.flow.write_paused
            and (self.cycle is None or self.cycle.response_complete)
        ):
            self._plain_body = b""
            self._phase = BODY
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body is in."""
        if self._plain_body is None:
            super().on_body(body)
        else:
            self._plain_body += body

    def on_message_complete(self) -> None:
        """A request's body is in."""
        if self._plain_body is not None:
            self._asked = self._fast.take(self, self.scope, self._plain_body)  # type: ignore[arg-type] # uvicorn's own name
            if self._asked is not None:
                self._phase = NOTHING
                if self._sender.phase:
                    self._sender.stop()
                return
            self._go_ordinary_way()
        super().on_message_complete()

    def answer(self, asked: Asked, body: bytes) -> bool:
        """Send the answer to what was taken; false where it goes the ordinary way by now, or nobody waits for it."""
        if asked is not self._asked or self.transport.is_closing():
            return False
        self._plain_body = self._asked = None
        self.transport.write(_head(self.server_state.default_headers, asked, len(body)) + body)
        self.on_response_complete()
        return True

    def take_ordinary_way(self, asked: Asked) -> None:
        """Give what was taken to the application."""
        if asked is self._asked and not self.transport.is_closing():
            self._go_ordinary_way()

    def shutdown(self) -> None:
        """The service stops."""
        self._go_ordinary_way()
        super().shutdown()

    def _wait_for_more(self, size: int) -> None:
        self._go_ordinary_way()  # it has not come in one piece
        super()._wait_for_more(size)

    def _go_ordinary_way(self) -> None:
        if self._plain_body is None:
            return
        body, self._plain_body = self._plain_body, None
        taken, self._asked = self._asked, None
        super().on_headers_complete()
        super().on_body(body)
        if taken is not None:
            super().on_message_complete()


def _is_json(scope: Scope) -> bool:
    """Whether the body is declared as JSON or as nothing."""
    for name, value in scope["headers"]:
        if name == b"content-type" and value != JSON and not is_json(value.decode("latin-1")):
            return False
    return True


def _head(default_headers: Iterable[tuple[bytes, bytes]], asked: Asked, length: int) -> bytes:
    """The head of the answer as it goes over the network."""
    lines = [b"%b: %b\r\n" % header for header in default_headers]
    return b"%b%b%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n" % (
        STATUS_LINE[200],
        b"".join(lines),
        asked.predictor.head_lines,
        asked.request_id.encode(),
        length,
    )
