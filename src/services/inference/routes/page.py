"""``GET /``: the service's page, its live part, and its forms. Programs use the other routes."""

import asyncio
import re
from functools import partial
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import HTMLResponse

from src.core.errors import LoopError, ModelNotLoadedError
from src.core.rollout_record import RolloutState
from src.services.inference.page.form import curl_of, doubts_of, mark_of, record_of
from src.services.inference.routes.callers import asked_by
from src.services.inference.routes.documentation import POLICY
from src.services.inference.routes.endpoints import Service, count_failure
from src.serving.http.errors import request_id_of
from src.serving.models.alias_moves import ChangeUnfinishedError
from src.serving.models.rollback import RollbackUnfinishedError
from src.serving.tables.problems import InvalidRecordError

# Fixed paths of the page's routes that change something.
WRITING = frozenset({"/page/retrain", "/page/rollback", "/page/approve", "/page/reject"})
# Fixed paths that refuse requests of other sites' pages and large bodies, as parsing a form blocks the event loop.
FORMS = WRITING | {"/page/predict"}
MAX_FORM_BYTES = 1 << 16
ORIGIN = re.compile(r"https?://[^/?#\s]+")
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"{POLICY}; style-src 'self'; img-src data:",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

router = APIRouter(include_in_schema=False)


def is_page(path: str) -> bool:
    """Whether a path belongs to the page."""
    return path == "/" or path.startswith("/page/")


@router.get("/")
async def whole(service: Service) -> Response:
    """The page; always 200, as it also shows errors."""
    return _html(await service.page.whole())


@router.get("/page/live", responses={204: {}})
async def live(
    service: Service, seen: Annotated[str, Query(max_length=64)] = "", form: Annotated[str, Query(max_length=64)] = ""
) -> Response:
    """The live part, or 204 if it has not changed or the page must be loaded again for another form."""
    if form != mark_of(service.store.current):
        return Response(status_code=204, headers={**HEADERS, "HX-Refresh": "true"})
    html = await service.page.news(seen, form)
    return _html(html) if html is not None else Response(status_code=204, headers=HEADERS)


@router.post("/page/predict", tags=["prediction"], responses={403: {}, 413: {}})
async def predict(request: Request, service: Service) -> Response:
    """The prediction for the form; it counts as live traffic, as those of ``/predict`` do."""
    try:
        shown = await _answer(request, service)
    except Exception as error:
        count_failure(service, error)
        if not isinstance(error, InvalidRecordError | ModelNotLoadedError):
            raise
        shown = {"problems": [str(problem) for problem in getattr(error, "problems", [error])]}
    return _html(await service.page.render("answer.html", **shown))


@router.post("/page/retrain")
async def retrain(request: Request, service: Service) -> Response:
    """As ``POST /retrain``, with the page's live part."""
    form = mark_of(service.store.current)
    try:
        await asyncio.to_thread(partial(service.spool.submit, "api", by=asked_by(request, "page")))
    except LoopError as error:
        return _html(await service.page.after(f"Nothing was requested: {error}", form, failed=True))
    return _html(await service.page.after("A training was requested; follow it below.", form))


@router.post("/page/rollback")
async def roll_back(
    request: Request, service: Service, champion: Annotated[str, Query(pattern=r"^[0-9]{1,18}$")]
) -> Response:
    """As ``POST /rollback``, with the page's live part."""
    form, served = mark_of(service.store.current), False
    try:
        done = await service.rollback.run(by=asked_by(request, "page"), expected=champion)
    except RollbackUnfinishedError as error:
        result = f"The rollback is unfinished: {error}."
    except LoopError as error:
        result = f"Not rolled back: {error}."
    else:
        served = done.served == done.champion
        result = (
            f"Rolled back: version {done.champion} is champion again, in place of version {done.previous}. "
            f"It is {'served now' if served else 'not served yet'}."
        )
    return _html(await service.page.after(result, form, failed=not served))


@router.post("/page/approve")
async def approve(
    request: Request,
    service: Service,
    rollout: Annotated[str, Query(alias="id", max_length=64)],
    promote: Annotated[bool, Query()] = False,  # noqa: FBT002 - as FastAPI names parameters
) -> Response:
    """As ``POST /rollouts/{rollout_id}/approve``, with the page's live part."""
    form = mark_of(service.store.current)
    try:
        by = asked_by(request, "page")
        done = await service.approval.approve(rollout, by=by, reason="requested", promote=promote)
    except ChangeUnfinishedError as error:
        result, failed = f"{error}.", True
    except LoopError as error:
        result, failed = f"Not approved: {error}.", True
    else:
        current = service.store.current
        if done.state is RolloutState.CANARY:
            result = f"Version {done.version} is a canary: it answers a share of the requests within seconds."
            return _html(await service.page.after(result, form))
        failed = current is None or current.version.version != done.version
        result = f"Version {done.version} is champion. It is {'not served yet' if failed else 'served now'}."
    return _html(await service.page.after(result, form, failed=failed))


@router.post("/page/reject")
async def reject(
    request: Request, service: Service, rollout: Annotated[str, Query(alias="id", max_length=64)]
) -> Response:
    """As ``POST /rollouts/{rollout_id}/reject``, with the page's live part."""
    form = mark_of(service.store.current)
    try:
        done = await service.approval.reject(rollout, by=asked_by(request, "page"), reason="requested")
    except LoopError as error:
        return _html(await service.page.after(f"Not rejected: {error}.", form, failed=True))
    return _html(await service.page.after(f"Version {done.version} was rejected; the champion stays.", form))


async def _answer(request: Request, service: Service) -> dict[str, Any]:
    """What the template shows: the prediction with a command that requests the same, or the form's problems."""
    body = (await request.body()).decode("utf-8", "replace")
    predictor = service.store.require()
    try:  # one field for each column, and the form's mark
        given = dict(parse_qsl(body, max_num_fields=len(predictor.schema.columns) + 1))
    except ValueError:
        return {"problems": ["The form has more fields than the model has columns; reload this page."]}
    if given.get("form") != mark_of(predictor):
        return {"problems": ["The model's columns have changed; reload this page."]}
    record = record_of(predictor.schema, given)
    row = predictor.decoder.decode(record)
    answer = await service.scheduler.answer(predictor, row)
    service.metrics.traffic.note(predictor, row, answer, request_id_of(request.scope))
    # Behind a TLS proxy only the browser knows its URL, which htmx sends along.
    origin = ORIGIN.match(request.headers.get("HX-Current-URL", ""))
    curl = curl_of(f"{origin[0]}/" if origin else str(request.base_url), record)
    doubts = list(doubts_of(predictor, row))
    return {"answer": answer, "version": predictor.version.version, "curl": curl, "doubts": doubts}


def _html(content: str) -> Response:
    return HTMLResponse(content, headers=HEADERS)
