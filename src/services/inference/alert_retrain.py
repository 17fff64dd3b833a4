"""Turns Alertmanager's notifications into retrain signals: one in flight at a time, then a cooldown."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from src.core.file_lock import locked_file
from src.core.retrain_record import RetrainRecord
from src.core.retrain_signal import RetrainSpool

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


def retrain_on_alert(
    notification: Notification, spool: RetrainSpool, cooldown: timedelta, now: datetime
) -> tuple[AlertOutcome, RetrainRecord | None]:
    """Submit a signal, or say why not, with the request that serves the alert, if any. Blocking.

    It decides by the requests in the spool alone, so that restarts and other replicas decide the same. Between two
    signals of alerts, ``cooldown`` must pass.

    Raises:
        SpoolBusyError, SpoolFullError, SpoolUnavailableError: nothing was accepted; Alertmanager tries again.
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
