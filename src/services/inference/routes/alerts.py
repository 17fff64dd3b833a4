"""``POST /alerts``: Alertmanager's webhook. A firing alert requests one training, and the next after a cooldown."""

import asyncio
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from src.core.file_lock import locked_file
from src.core.retrain_queue import RetrainQueue
from src.core.retrain_record import RetrainRecord
from src.services.inference.routes.endpoints import Service, errors

# An alert with this label requests a training while it fires.
LABEL, VALUE = "action", "retrain"
# How many of the newest requests are searched for the last one of an alert.
LOOK_BACK = 1000


class Alert(BaseModel, frozen=True):
    """One alert of a notification, without the fields that are meant for people."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str]


class Notification(BaseModel, frozen=True):
    """The body of Alertmanager's webhook, version 4."""

    version: Literal["4"]
    group_key: Annotated[str, Field(alias="groupKey", min_length=1)]
    alerts: list[Alert]

    @property
    def asks_for_training(self) -> bool:
        """Whether any alert fires and has the label."""
        return any(alert.status == "firing" and alert.labels.get(LABEL) == VALUE for alert in self.alerts)


class AlertOutcome(StrEnum):
    """How a notification was handled."""

    ACCEPTED = "accepted"
    NOT_ASKED = "not_asked"
    IN_FLIGHT = "in_flight"
    COOLDOWN = "cooldown"


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
    responses={202: {"description": "A training was requested", "model": AlertAnswer}, **errors(413, 429, 503, 507)},
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


def retrain_on_alert(
    notification: Notification, spool: RetrainQueue, cooldown: timedelta, now: datetime
) -> tuple[AlertOutcome, RetrainRecord | None]:
    """Submit a signal, or say why not, with the request that serves the alert, if any. Blocking.

    It decides by the requests in the spool alone, so that restarts and other replicas decide the same. Between two
    signals of alerts, ``cooldown`` must pass. Raises the spool's errors, after which Alertmanager tries again.
    """
    if not notification.asks_for_training:
        return AlertOutcome.NOT_ASKED, None
    # Locked, so that of two notifications at once only one finds no request in flight.
    with locked_file(spool.root / "alerts.lock"):
        recent = spool.recent(LOOK_BACK)
        in_flight = next((record for record in recent if record.result is None), None)
        if in_flight is not None:
            return AlertOutcome.IN_FLIGHT, in_flight
        last = next((record for record in recent if record.source == "alert"), None)
        if last is not None and now - last.submitted_at < cooldown:
            return AlertOutcome.COOLDOWN, last
        return AlertOutcome.ACCEPTED, spool.submit("alert", cause=notification.group_key)
