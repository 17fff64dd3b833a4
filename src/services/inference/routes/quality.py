"""``GET /quality``: the live quality of the served versions, as the quality service last computed it."""

import asyncio

from fastapi import APIRouter

from src.core.quality_report import REPORT_FILE, QualityReport, read_report
from src.services.inference.routes.endpoints import Service, errors
from src.serving.http.errors import RefusedError

router = APIRouter(tags=["quality"])


@router.get(
    "/quality",
    summary="The live quality of the served versions",
    responses={404: {"description": "There is no report yet; the message says what to do"}, **errors(503)},
)
async def live_quality(service: Service) -> QualityReport:
    """Scores over labelled predictions by version, role and window, with 95 % intervals, and what became of the labels.

    The report is replaced about every minute; ``at`` is when it was computed. Labels arrive at ``POST /feedback``.
    Scores are about the predictions that have a label: labels that come late, or for some classes only, bias them.
    """
    settings = service.settings
    report = await asyncio.to_thread(read_report, settings.quality_dir / REPORT_FILE, settings.model_name)
    if report is not None:
        return report
    if not settings.prediction_log:
        raise RefusedError(404, "no report of live quality: the prediction log is off; set PREDICTION_LOG=true")
    raise RefusedError(
        404, "no report of live quality yet; the quality service writes the first one about a minute after its start"
    )
