"""``POST /alerts``: Alertmanager's webhook, through which a firing alert can request a training."""

import asyncio
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Response
from pydantic import BaseModel

from src.services.inference.alert_retrain import AlertOutcome, Notification, retrain_on_alert
from src.services.inference.routes.endpoints import Service, errors

REASONS = {
    AlertOutcome.ACCEPTED: "a training was requested",
    AlertOutcome.NOT_ASKED: "no firing alert carries the label action=retrain",
    AlertOutcome.IN_FLIGHT: "another retrain request is waiting or running",
    AlertOutcome.COOLDOWN: "the last training that an alert requested is too recent (ALERT_COOLDOWN_SECONDS)",
}

router = APIRouter(tags=["retraining"])


class AlertAnswer(BaseModel):
    """How a notification was handled; ``retrain`` is the request that serves it, if any."""

    outcome: AlertOutcome
    reason: str
    retrain: str | None


@router.post(
    "/alerts",
    summary="Take a notification of Alertmanager",
    responses={
        202: {"description": "A training was requested", "model": AlertAnswer},
        **errors(413, 429, 503, 507),
    },
)
async def notify(notification: Notification, response: Response, service: Service) -> AlertAnswer:
    """202 with the retrain request, or 200 if none was made."""
    cooldown = timedelta(seconds=service.settings.alert_cooldown_seconds)
    outcome, record = await asyncio.to_thread(
        retrain_on_alert, notification, service.spool, cooldown, now=datetime.now(UTC)
    )
    service.metrics.alert(outcome)
    request_id = record.id if record else None
    if outcome is AlertOutcome.ACCEPTED:
        response.status_code = 202
        response.headers["Location"] = f"/retrain/{request_id}"
    return AlertAnswer(outcome=outcome, reason=REASONS[outcome], retrain=request_id)
