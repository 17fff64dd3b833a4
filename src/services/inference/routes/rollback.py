"""``POST /rollback``: the champion before the present one serves again."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from src.services.inference.service_state import Service
from src.services.inference.web.errors import request_id_of

MLFLOW_AWAY: dict[str, Any] = {
    "description": "MLflow, or the shared volume, cannot be used; the message says what was done, or may have been"
}

router = APIRouter(tags=["registry"])


class RollbackAnswer(BaseModel):
    """What a roll back has led to: versions of the model.

    ``served`` is what answers now: the champion, unless it cannot be loaded, for the reason ``last_error``.
    """

    champion: str
    previous: str
    served: str | None
    last_error: str | None


class RollbackQuery(BaseModel):
    """Refuses what it does not know: a condition with a typo would be none."""

    model_config = ConfigDict(extra="forbid")

    champion: str | None = Field(None, pattern=r"^[0-9]{1,18}$", description="Only if this version is champion still")


@router.post(
    "/rollback",
    summary="Go back to the previous champion",
    responses={
        409: {"description": "There is nothing to go back to, or the champion is another; nothing was changed"},
        413: {"description": "The body is too large; none is needed"},
        503: MLFLOW_AWAY,
    },
)
async def roll_back(request: Request, service: Service, asked: Annotated[RollbackQuery, Query()]) -> RollbackAnswer:
    """Move the alias ``champion`` to the version under ``previous``, that one to where champion was, and load it.

    A second roll back returns. The version that was taken back is tagged with when, for whom and in whose favour.
    A body is read only for its limit.
    """
    async for _ in request.stream():
        pass
    done = await service.rollback.run(by=asked_by(request, "api"), expected=asked.champion)
    return RollbackAnswer(
        champion=done.champion, previous=done.previous, served=done.served, last_error=done.last_error
    )


def asked_by(request: Request, way: str) -> str:
    """Who asks, as far as that can be told: through what, from where, and in which request."""
    client = request.client.host if request.client is not None else "unknown"
    return f"{way}, {client}, request {request_id_of(request.scope)}"
