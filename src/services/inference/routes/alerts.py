"""``POST /alerts``: Alertmanager's webhook, through which a firing alert may ask for a training."""

import asyncio

from fastapi import APIRouter, Response
from pydantic import BaseModel

from src.services.inference.alert_retrain import AlertOutcome, Notification
from src.services.inference.routes.retrain import UNAVAILABLE
from src.services.inference.service_state import Service

REASONS = {
    AlertOutcome.ACCEPTED: "a training was requested",
    AlertOutcome.NOT_ASKED: "no firing alert carries the label action=retrain",
    AlertOutcome.IN_FLIGHT: "a retrain request waits or runs already",
    AlertOutcome.COOLDOWN: "the last training that an alert asked for is too fresh (ALERT_COOLDOWN_SECONDS)",
}

router = APIRouter(tags=["retraining"])


class AlertAnswer(BaseModel):
    """What became of a notification; ``retrain`` is the request that serves it, if there is one."""

    outcome: AlertOutcome
    reason: str
    retrain: str | None


@router.post(
    "/alerts",
    summary="Take a notification of Alertmanager",
    responses={
        202: {"description": "A training was requested", "model": AlertAnswer},
        413: {"description": "The body is too large"},
        429: {"description": "Enough requests wait already"},
        503: UNAVAILABLE,
        507: {"description": "The shared volume is full; nothing was accepted"},
    },
)
async def notify(notification: Notification, response: Response, service: Service) -> AlertAnswer:
    """202 with the retrain request that an alert has caused, 200 where it causes none."""
    decision = await asyncio.to_thread(service.alerts.handle, notification)
    service.metrics.alert(decision.outcome)
    if decision.outcome is AlertOutcome.ACCEPTED and decision.record is not None:
        response.status_code = 202
        response.headers["Location"] = f"/retrain/{decision.record.id}"
    return AlertAnswer(
        outcome=decision.outcome,
        reason=REASONS[decision.outcome],
        retrain=decision.record.id if decision.record is not None else None,
    )
