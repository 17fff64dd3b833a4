"""``POST /rollback``: serves the previous champion again."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from src.services.inference.routes.callers import asked_by
from src.services.inference.routes.endpoints import Service, errors
from src.serving.models.rollback import RollbackAnswer, RollbackRefusedError

router = APIRouter(tags=["registry"])


class RollbackQuery(BaseModel, extra="forbid"):
    """The query parameters; unknown ones are refused, as a misspelt condition would have no effect."""

    champion: str | None = Field(None, pattern=r"^[0-9]{1,18}$", description="Only if this version is still champion")
    model: str | None = Field(None, max_length=256, description="Only if this registered model is served")
    reason: str = Field("requested", min_length=1, max_length=300, description="Why, for the record of its promotion")


@router.post(
    "/rollback",
    summary="Go back to the previous champion",
    responses={
        409: {"description": "There is no version to go back to, or the champion is another one; nothing was changed"},
        **errors(413, 503),
    },
)
async def roll_back(request: Request, service: Service, asked: Annotated[RollbackQuery, Query()]) -> RollbackAnswer:
    """Swap the aliases ``champion`` and ``previous``, and load the new champion.

    A second rollback returns. The version that was rolled back is tagged with the time, the client and the new
    champion. If MLflow fails, the message says what was done, or may have been. A body is ignored, but its size is
    limited.
    """
    await request.body()
    served = service.settings.model_name
    if asked.model not in {None, served}:
        raise RollbackRefusedError(f"this service serves the model {served}; check MODEL_NAME of the client")
    return await service.rollback.run(by=asked_by(request, "api"), expected=asked.champion, reason=asked.reason)
