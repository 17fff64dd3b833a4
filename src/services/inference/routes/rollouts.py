"""``GET /rollouts``: the versions that have passed the gate; ``POST …/approve`` and ``…/reject``."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from src.core.rollout_record import Rollout
from src.services.inference.routes.callers import asked_by
from src.services.inference.routes.endpoints import Service, errors
from src.serving.watch.promotions import Promotion

router = APIRouter(tags=["registry"])


class RolloutQuery(BaseModel, extra="forbid"):
    """The query parameters; unknown ones are refused."""

    limit: int = Field(20, ge=1, le=100, description="How many versions to list")


class RolloutList(BaseModel):
    """The newest versions that have passed the gate, newest first."""

    rollouts: list[Promotion]


@router.get("/rollouts", summary="What happened to versions that have passed the gate", responses=errors(503))
async def recent(service: Service, asked: Annotated[RolloutQuery, Query()]) -> RolloutList:
    """The served model's versions that have passed the gate, newest first, and what happened to them.

    With ``gate.approval: manual``, such a version awaits approval: approve or reject it by its id. With
    ``rollout.minimum_rows``, it first answers so many logged rows as a shadow of the champion, and may be approved or
    rejected meanwhile. With ``rollout.canary``, it then answers a share of the requests until what that shows promotes
    or aborts it. It is aborted if it is rejected, if labels prove that it is worse, if a later version passes the gate,
    or if the champion that it was compared with is replaced.

    While a promotion is watched, the champion before it answers the logged rows too, as a shadow, and both are compared
    on the rows that have a label. A promotion that needed no approval has no record if there was no champion before it.
    """
    return RolloutList(rollouts=await asyncio.to_thread(service.promotions.recent, asked.limit))


class DecisionQuery(BaseModel, extra="forbid"):
    """The query parameters; unknown ones are refused."""

    reason: str = Field("requested", min_length=1, max_length=300, description="Why, for the version's record")
    automatic: bool = Field(default=False, description="For the quality service: only if the version's rows allow it")


class ApprovalQuery(DecisionQuery):
    """The query parameters of an approval."""

    promote: bool = Field(default=False, description="Promote a version before its canary, or before the canary's end")


class DecisionAnswer(BaseModel):
    """The version's record, and what is served: the champion, unless it cannot be loaded; see ``last_error``."""

    rollout: Promotion
    served: str | None
    last_error: str | None


Asked = Annotated[DecisionQuery, Query()]
ERRORS_OF_DECISIONS: dict[int | str, dict[str, Any]] = {
    404: {"description": "No version has this id"},
    409: {"description": "The version does not await approval, or the champion has changed since"},
    **errors(413, 503, 507),
}


@router.post("/rollouts/{rollout_id}/approve", summary="Promote a waiting version", responses=ERRORS_OF_DECISIONS)
async def approve(
    rollout_id: str, request: Request, service: Service, asked: Annotated[ApprovalQuery, Query()]
) -> DecisionAnswer:
    """Make the version champion, load it, and begin its watch. A repeated approval changes nothing.

    With ``rollout.canary``, the version answers a share of the requests instead, and is promoted or aborted by what
    that shows; with ``promote=true`` it becomes champion now.

    If the champion is another one than the version was compared with, the version is aborted: train again. If MLflow
    fails after the approval was recorded, the service completes it as soon as MLflow answers.
    """
    await request.body()
    by = asked_by(request, "api")
    rollout = await service.approval.approve(
        rollout_id, by=by, reason=asked.reason, automatic=asked.automatic, promote=asked.promote
    )
    return _answer(service, rollout)


@router.post("/rollouts/{rollout_id}/reject", summary="Abort a waiting version", responses=ERRORS_OF_DECISIONS)
async def reject(rollout_id: str, request: Request, service: Service, asked: Asked) -> DecisionAnswer:
    """Keep the champion: the version is aborted. A repeated rejection changes nothing."""
    await request.body()
    by = asked_by(request, "api")
    rollout = await service.approval.reject(rollout_id, by=by, reason=asked.reason, automatic=asked.automatic)
    return _answer(service, rollout)


def _answer(service: Service, rollout: Rollout) -> DecisionAnswer:
    store = service.store
    served = store.current and store.current.version.version
    return DecisionAnswer(rollout=service.promotions.shown(rollout), served=served, last_error=store.last_error)
