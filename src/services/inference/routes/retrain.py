"""``/retrain``: submits requests to the spool, and reports their state."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from src.core.new_data import NewAmount, read_new_data
from src.core.retrain_record import Outcome, RetrainRecord, RetrainResult, Scores, State, Step
from src.services.inference.routes.callers import asked_by
from src.services.inference.routes.endpoints import Service, errors
from src.serving.http.errors import RefusedError
from src.serving.models.model_store import ModelStore

# How long a request waits for a model that was just promoted.
CATCH_UP_SECONDS = 2.0
# An older promotion that is not served was rolled back, or MLflow is down; waiting would not help.
FRESH = timedelta(minutes=1)
# A record's fields that a status has only where they are known.
OPTIONAL = {"cause", "step", "progress"}

router = APIRouter(tags=["retraining"])


class RetrainAccepted(BaseModel):
    """A request that was stored durably."""

    id: str
    state: State
    submitted_at: datetime


class RetrainQuery(BaseModel, extra="forbid"):
    """The query parameters; unknown ones are refused."""

    source: Literal["api", "schedule"] = Field("api", description="Who requests the training")


class BothScores(BaseModel, from_attributes=True):
    """Scores on the same rows; null if a model was not scored."""

    challenger: Scores | None
    champion: Scores | None


class RetrainStatus(RetrainAccepted):
    """A retrain request: its state and, once ended, its outcome; absent fields do not apply yet."""

    source: str
    started_at: datetime | None
    attempts: int
    last_error: str | None
    outcome: Outcome | None = None
    reason: str | None = None
    scores: BothScores | None = None
    mlflow_run_id: str | None = None
    model_name: str | None = None
    model_version: str | None = None
    finished_at: datetime | None = None
    cause: str | None = None
    step: Step | None = None
    progress: str | None = None
    served: bool | None = None


class RetrainList(BaseModel):
    """The newest requests, newest first, and how much is new, of what ``RETRAIN_MIN_NEW_…`` counts."""

    requests: list[RetrainStatus]
    amounts: list[NewAmount]


@router.post(
    "/retrain",
    status_code=202,
    response_model=RetrainAccepted,
    summary="Request a training run",
    responses=errors(413, 429, 503, 507),
)
async def submit(
    request: Request, response: Response, service: Service, given: Annotated[RetrainQuery, Query()]
) -> RetrainRecord:
    """Store a request durably; ``Location`` is where to follow it. A body is ignored, but its size is limited.

    A scheduled job sends ``source=schedule``: its request ends as ``skipped`` if data, settings and code are those
    of an earlier training. Other requests always train. After an error, nothing was accepted.
    """
    await request.body()
    by = asked_by(request, "api")
    record = await asyncio.to_thread(partial(service.spool.submit, given.source, by=by))
    response.headers["Location"] = f"/retrain/{record.id}"
    return record


@router.get("/retrain", summary="The newest retrain requests", responses=errors(503), response_model_exclude_unset=True)
async def recent(service: Service, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> RetrainList:
    """Requests in any state, newest first.

    ``amounts`` says how many new rows or labels count towards the next request by amount, as last counted.
    """
    records = await asyncio.to_thread(service.spool.recent, limit)
    amounts = await asyncio.to_thread(read_new_data, service.spool.root, service.settings.model_name)
    return RetrainList(requests=[_status(record, service.store) for record in records], amounts=amounts)


@router.get(
    "/retrain/{request_id}",
    summary="Follow a retrain request",
    responses={404: {"description": "No request has this id"}, **errors(503)},
    response_model_exclude_unset=True,
)
async def follow(request_id: str, service: Service) -> RetrainStatus:
    """One request; a new promotion is loaded first, so that ``served`` is up to date."""
    record = await asyncio.to_thread(service.spool.get, request_id)
    if record is None:
        raise RefusedError(404, "no retrain request has this id; GET /retrain lists the newest")
    if _is_ahead(record.result, service.store):
        await service.store.catch_up(seconds=CATCH_UP_SECONDS)
    return _status(record, service.store)


def _is_ahead(result: RetrainResult | None, store: ModelStore) -> bool:
    """Whether this outcome recently promoted a version that is not served yet."""
    if result is None or result.outcome is not Outcome.PROMOTED or datetime.now(UTC) - result.finished_at > FRESH:
        return False
    served = store.current and store.current.version
    return not served or (result.is_of(served.name) and int(result.model_version or 0) > int(served.version))


def _status(record: RetrainRecord, store: ModelStore) -> RetrainStatus:
    result, current = record.result, store.current
    # Fields that a status does not have are ignored.
    found = record.model_dump(exclude=OPTIONAL) | record.model_dump(include=OPTIONAL, exclude_none=True)
    if result is not None:
        found |= result.model_dump() | {"scores": result}
        if result.outcome is Outcome.PROMOTED:
            found["served"] = current is not None and result.made(current.version.name, current.version.version)
    return RetrainStatus(state=record.state, **found)
