"""A firing alert asks for one training, and not for the next before the cooldown is over."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from src.core.retrain_record import Outcome, RetrainRecord, RetrainResult
from src.core.retrain_signal import RetrainSpool
from src.services.inference.routes.alerts import AlertOutcome, Notification, retrain_on_alert

AlertRetrain = Callable[[Notification], tuple[AlertOutcome, RetrainRecord | None]]
HOUR = timedelta(hours=1)
DRIFT = {"alertname": "FeatureDrift", "action": "retrain", "feature": "petal_width"}


class Clock:
    """The real time, moved on by hand."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def spool(tmp_path: Path) -> RetrainSpool:
    return RetrainSpool(tmp_path).create()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def alerts_of(spool: RetrainSpool, clock: Clock) -> AlertRetrain:
    return lambda notification: retrain_on_alert(notification, spool, HOUR, clock())


@pytest.fixture
def alerts(spool: RetrainSpool, clock: Clock) -> AlertRetrain:
    return alerts_of(spool, clock)


GROUP = "{}:{alertname='FeatureDrift'}"


def notification(*labels: dict[str, str], status: str = "firing", key: str = GROUP) -> Notification:
    alerts = [{"status": status, "labels": each, "startsAt": "2026-11-24T12:00:00Z"} for each in labels]
    return Notification.model_validate({"version": "4", "groupKey": key, "status": status, "alerts": alerts})


def end(spool: RetrainSpool, outcome: Outcome = Outcome.REJECTED) -> None:
    with spool.lock():
        for record in spool.claim():
            spool.finish(record, RetrainResult(outcome=outcome, reason="because", finished_at=datetime.now(UTC)))


def test_firing_alert_becomes_a_signal_that_names_its_group(alerts: AlertRetrain, spool: RetrainSpool) -> None:
    outcome, accepted = alerts(notification(DRIFT))
    assert outcome is AlertOutcome.ACCEPTED
    (record,) = spool.recent(10)
    assert record == accepted
    assert (record.source, record.cause) == ("alert", GROUP)


@pytest.mark.parametrize(
    "ignored",
    [
        notification(DRIFT, status="resolved"),
        notification({"alertname": "ServiceDown"}),
        notification({**DRIFT, "action": "page"}),
        notification(),
    ],
)
def test_resolved_and_other_alerts_change_nothing(
    alerts: AlertRetrain, spool: RetrainSpool, ignored: Notification
) -> None:
    assert alerts(ignored)[0] is AlertOutcome.NOT_ASKED
    assert spool.recent(10) == []


def test_one_asking_alert_among_others_is_enough(alerts: AlertRetrain) -> None:
    assert alerts(notification({"alertname": "ServiceDown"}, DRIFT))[0] is AlertOutcome.ACCEPTED


def test_while_a_request_is_in_flight_it_serves_the_alert_too(alerts: AlertRetrain, spool: RetrainSpool) -> None:
    waiting = spool.submit("api")
    assert alerts(notification(DRIFT)) == (AlertOutcome.IN_FLIGHT, waiting)
    with spool.lock():
        (record,) = spool.claim()
        spool.update(record.model_copy(update={"attempts": 1}))
    assert alerts(notification(DRIFT))[0] is AlertOutcome.IN_FLIGHT


@pytest.mark.parametrize("outcome", list(Outcome))
def test_after_its_end_the_cooldown_holds_whatever_the_outcome(
    alerts: AlertRetrain, spool: RetrainSpool, clock: Clock, outcome: Outcome
) -> None:
    _, first = alerts(notification(DRIFT))
    end(spool, outcome)
    outcome_again, again = alerts(notification(DRIFT, key="another group"))
    assert outcome_again is AlertOutcome.COOLDOWN
    assert again is not None
    assert first is not None
    assert again.id == first.id
    clock.ahead = HOUR
    assert alerts(notification(DRIFT))[0] is AlertOutcome.ACCEPTED


def test_a_request_by_hand_starts_no_cooldown(alerts: AlertRetrain, spool: RetrainSpool) -> None:
    spool.submit("api")
    end(spool)
    assert alerts(notification(DRIFT))[0] is AlertOutcome.ACCEPTED


def test_a_restart_forgets_nothing(alerts: AlertRetrain, spool: RetrainSpool, clock: Clock) -> None:
    alerts(notification(DRIFT))
    end(spool)
    after = alerts_of(RetrainSpool(spool.root), clock)
    assert after(notification(DRIFT))[0] is AlertOutcome.COOLDOWN


def test_notifications_at_the_same_moment_cause_one_request(spool: RetrainSpool, clock: Clock) -> None:
    together = threading.Barrier(8)
    outcomes: list[AlertOutcome] = []

    def notify() -> None:
        alerts = alerts_of(RetrainSpool(spool.root), clock)
        together.wait()
        outcomes.append(alerts(notification(DRIFT))[0])

    threads = [threading.Thread(target=notify) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [AlertOutcome.ACCEPTED, *[AlertOutcome.IN_FLIGHT] * 7]
    assert len(spool.recent(10)) == 1


def test_a_very_long_group_key_is_cut(alerts: AlertRetrain, spool: RetrainSpool) -> None:
    alerts(notification(DRIFT, key="k" * 10_000))
    (record,) = spool.recent(10)
    assert record.cause is not None
    assert len(record.cause) <= 300


def test_payload_of_alertmanager_is_understood() -> None:
    told: Any = {
        "receiver": "retrain",
        "status": "firing",
        "alerts": [
            {
                "status": "firing",
                "labels": DRIFT,
                "annotations": {"summary": "…"},
                "startsAt": "2026-11-24T12:00:00Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://prometheus:9090/graph",
                "fingerprint": "c0ffee",
            }
        ],
        "groupLabels": {"alertname": "FeatureDrift"},
        "commonLabels": DRIFT,
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "version": "4",
        "groupKey": '{}/{action="retrain"}:{alertname="FeatureDrift"}',
        "truncatedAlerts": 0,
    }
    assert Notification.model_validate(told).asks_for_training
