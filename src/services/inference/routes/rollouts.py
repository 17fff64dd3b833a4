"""``GET /rollouts``: what happened to the newest promotions."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from src.services.inference.routes.endpoints import Service, errors
from src.serving.watch.promotions import Promotion

router = APIRouter(tags=["registry"])


class RolloutQuery(BaseModel, extra="forbid"):
    """The query parameters; unknown ones are refused."""

    limit: int = Field(20, ge=1, le=100, description="How many promotions to list")


class RolloutList(BaseModel):
    """The newest promotions, newest first."""

    rollouts: list[Promotion]


@router.get("/rollouts", summary="What happened to the newest promotions", responses=errors(503))
async def recent(service: Service, asked: Annotated[RolloutQuery, Query()]) -> RolloutList:
    """The served model's promotions, newest first: watched, kept or rolled back, and why.

    While a promotion is watched, the champion before it answers the logged rows too, as a shadow, and both are compared
    on the rows that have a label. A promotion without a champion before it, or with ``rollout.watch_hours: 0``, has no
    record.
    """
    return RolloutList(rollouts=await asyncio.to_thread(service.promotions.recent, asked.limit))
