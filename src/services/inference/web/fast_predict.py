"""The short cut for the busiest request: one plain record is answered before routing; all else passes on untouched.

It answers only what is certain to succeed, so every refusal, every rare form and every failure has one place, the
ordinary route, and both give the same bytes.
"""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.core.feature_table import Row
from src.services.inference.formats.schemas import Answer
from src.services.inference.model.calls import Calls
from src.services.inference.model.model_store import ModelStore
from src.services.inference.model.predictor import Predictor
from src.services.inference.routes.predict import encode_answer, is_json
from src.services.inference.watch.metrics import ServingMetrics
from src.services.inference.web.admission import Admission
from src.services.inference.web.guards import HostGuard
from src.services.inference.web.middleware import request_id_from

ROUTE = "/predict"
# The exact form that almost every client sends.
JSON = b"application/json"


class FastPredict:
    """Answers ``POST /predict`` with one record in one message; the outermost ASGI layer.

    Args:
        app: answers everything else.
        store: holds the model.
        calls: runs it.
        hosts: says whether a request comes by one of the service's names.
        admission: says whether a request may be taken up at once.
        metrics: told of every request that is answered here.
        max_body_bytes: a longer body passes on, to be refused or read away from the event loop.
    """

    def __init__(  # noqa: PLR0913 - the parts of the route that it stands for
        self,
        app: ASGIApp,
        *,
        store: ModelStore,
        calls: Calls,
        hosts: HostGuard,
        admission: Admission,
        metrics: ServingMetrics,
        max_body_bytes: int,
    ) -> None:
        self._app = app
        self._store = store
        self._calls = calls
        self._hosts = hosts
        self._admission = admission
        self._metrics = metrics
        self._limit = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http" or scope["path"] != ROUTE or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        predictor = self._store.current
        if (
            predictor is None
            or not _is_plain(scope, self._limit)
            or not self._hosts.allows(scope)
            or not self._admission.try_enter()
        ):
            await self._app(scope, receive, send)
            return
        self._metrics.in_flight.inc()
        try:
            message = await receive()
            row = _row_of(predictor, message)
            answer = await self._answer(predictor, row) if row is not None else None
        finally:
            self._metrics.in_flight.dec()
            self._admission.leave()
        if row is None or answer is None:
            await self._app(scope, _replaying(message, receive), send)
            return
        request_id = request_id_from(scope)
        body = encode_answer(answer, predictor, request_id)
        headers = [
            *predictor.raw_headers,
            (b"content-length", b"%d" % len(body)),
            (b"content-type", JSON),
            (b"x-request-id", request_id.encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._metrics.traffic.note(predictor, row, answer)
        self._metrics.observe_request(ROUTE, "POST", 200, time.perf_counter() - started)

    async def _answer(self, predictor: Predictor, row: Row) -> Answer | None:
        try:
            return self._calls.answer_now(predictor, row) or await self._calls.answer(predictor, row)
        except Exception:  # noqa: BLE001 - the model failed: it fails again in the route, which tells and logs it
            return None


def _row_of(predictor: Predictor, message: Message) -> Row | None:
    """The one record of a whole body; None for anything else."""
    if message["type"] != "http.request" or message.get("more_body") or message["body"][:1] != b"{":
        return None
    return predictor.decoder.decode_or_none(message["body"])


def _is_plain(scope: Scope, limit: int) -> bool:
    """Whether the body is announced as so short, and declared as JSON or as nothing."""
    short, json = False, True
    for name, value in scope["headers"]:
        if name == b"content-length":
            short = value.isdigit() and int(value) <= limit
        elif name == b"content-type":
            json = json and (value == JSON or is_json(value.decode("latin-1")))
    return short and json


def _replaying(message: Message, receive: Receive) -> Receive:
    """A receive that gives a message that was taken already first."""
    taken = [message]

    async def replay() -> Message:
        return taken.pop() if taken else await receive()

    return replay
