"""``POST /feedback``: true labels of earlier predictions."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request

from src.core.errors import InvalidInputError
from src.services.inference.openapi.model_schemas import content_of
from src.services.inference.routes.endpoints import Service, errors
from src.serving.http.errors import InvalidParameterError, RefusedError, unknown_parameter
from src.serving.protocols.feedback import FIELDS, FORMATS, LabelReader, LabelRule
from src.serving.protocols.media_types import format_of
from src.serving.tables.parts import Format
from src.serving.tables.problems import MAX_TOLD
from src.serving.watch.metrics import ACCEPTED, REFUSED

PATH = "/feedback"
LOG_IS_OFF = "labels are compared with logged predictions, and the log is off; set PREDICTION_LOG=true to keep both"
TAKES: dict[str, str] = {Format.JSON: "FeedbackRequest", Format.NDJSON: "FeedbackLines", Format.CSV: "FeedbackCsv"}
EXAMPLE: dict[str, Any] = {
    "accepted": 2,
    "refused": 1,
    "problems": [{"row": 1, "field": "label", "message": "label is required"}],
}

router = APIRouter(tags=["quality"])


class FeedbackProblem(BaseModel):
    """Why a row was refused."""

    row: int = Field(description="The row, from 0")
    field: str | None = Field(description="The invalid field; null where the whole row is invalid")
    message: str = Field(description="What is wrong and what to do, without the value that was sent")


class FeedbackAnswer(BaseModel, json_schema_extra={"examples": [EXAMPLE]}):
    """How many labels were stored durably, and the problems of the first others."""

    accepted: int
    refused: int
    problems: list[FeedbackProblem] = Field(max_length=MAX_TOLD)


@router.post(
    PATH,
    status_code=202,
    summary="Send true labels of earlier predictions",
    responses={409: {"description": "The prediction log is off"}, **errors(413, 415, 422, 429, 503, 507)},
    openapi_extra={"requestBody": {"required": True, "content": content_of(TAKES)}},
)
async def take_labels(request: Request, service: Service) -> FeedbackAnswer:
    """Store labels durably; they are compared with the logged predictions within minutes.

    Each row has `label`, which is a class of the served model or a regression's true number, and one of:
    `request_id`, of the answer or of the request's X-Request-ID header, with `/1`, `/2`, … for further rows of a
    batch or a list; or `id`, the team's own id of the row. `time` is when the label became true, if known.

    Invalid rows are refused, and the others accepted. All labels are kept; the newest of a prediction counts, so it is
    safe to send them again. After an error, nothing was accepted.
    """
    form = format_of(request.headers.get("content-type"), FORMATS, "labels")
    for name in request.query_params:
        raise InvalidParameterError(unknown_parameter(name))
    if not service.settings.prediction_log:
        raise RefusedError(409, LOG_IS_OFF)
    service.store.require()
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
    # Read once: the model may be swapped while the labels are read.
    rule = LabelRule.of(service.store.require().engine.labels)
    # A limit for memory in batches, and for the size of a file here.
    max_rows = max(1, service.settings.max_batch_values // len(FIELDS))
    reader = LabelReader(form, body, rule, max_rows, received=datetime.now(UTC))
    counts = service.metrics.feedback
    try:
        await asyncio.to_thread(service.feedback.write, reader.lines())
    except InvalidInputError:
        counts[REFUSED](reader.accepted + reader.refused)
        raise
    counts[ACCEPTED](reader.accepted)
    counts[REFUSED](reader.refused)
    problems = [FeedbackProblem(row=item.row or 0, field=item.field, message=str(item)) for item in reader.problems]
    return FeedbackAnswer(accepted=reader.accepted, refused=reader.refused, problems=problems)
