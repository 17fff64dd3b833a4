"""``POST /alerts``: Alertmanager's webhook, through which a firing alert can request a training."""

import asyncio

from fastapi import APIRouter, Response
from pydantic import BaseModel

from src.services.inference.alert_retrain import AlertOutcome, Notification
from src.services.inference.routes.retrain import UNAVAILABLE
from src.services.inference.service_state import Service

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
        413: {"description": "The body is too large"},
        429: {"description": "Too many requests are waiting"},
        503: UNAVAILABLE,
        507: {"description": "The shared volume is full; nothing was accepted"},
    },
)
async def notify(notification: Notification, response: Response, service: Service) -> AlertAnswer:
    """202 with the retrain request, or 200 if none was made."""
    decision = await asyncio.to_thread(service.alerts.handle, notification)
    service.metrics.alert(decision.outcome)
    request_id = decision.record.id if decision.record else None
    if decision.outcome is AlertOutcome.ACCEPTED:
        response.status_code = 202
        response.headers["Location"] = f"/retrain/{request_id}"
    return AlertAnswer(outcome=decision.outcome, reason=REASONS[decision.outcome], retrain=request_id)
