"""``POST /alerts`` as Alertmanager calls it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from src.core.errors import ConfigError
from src.core.inference_settings import InferenceSettings
from src.core.settings import load_settings
from tests.support.fake_mlflow import FakeMlflow

pytestmark = pytest.mark.anyio

TOKEN = "a token of thirty-two characters"  # noqa: S105 - of this test alone
ALLOWED = {"Authorization": f"Bearer {TOKEN}"}
FIRING = {
    "version": "4",
    "groupKey": '{}:{alertname="FeatureDrift"}',
    "status": "firing",
    "alerts": [{"status": "firing", "labels": {"alertname": "FeatureDrift", "action": "retrain"}}],
}


@pytest.fixture
async def alerted(serving: Any, mlflow: FakeMlflow, tmp_path: Path) -> AsyncIterator[Any]:
    async with serving(tmp_path, mlflow, alert_retrain=True, alert_token=TOKEN) as running:
        yield running


async def test_firing_alert_requests_a_training_that_can_be_followed(alerted: Any) -> None:
    answer = await alerted.client.post("/alerts", json=FIRING, headers=ALLOWED)
    assert (answer.status_code, answer.json()["outcome"]) == (202, "accepted")
    followed = (await alerted.client.get(answer.headers["Location"])).json()
    assert (followed["id"], followed["state"]) == (answer.json()["retrain"], "queued")
    assert (followed["source"], followed["cause"]) == ("alert", FIRING["groupKey"])
    assert await alerted.metric("inference_alerts_total", outcome="accepted") == 1


async def test_second_notification_is_served_by_the_first_request(alerted: Any) -> None:
    first = await alerted.client.post("/alerts", json=FIRING, headers=ALLOWED)
    again = await alerted.client.post("/alerts", json=FIRING, headers=ALLOWED)
    assert (again.status_code, again.json()["outcome"]) == (200, "in_flight")
    assert again.json()["retrain"] == first.json()["retrain"]
    assert await alerted.metric("inference_alerts_total", outcome="in_flight") == 1


async def test_alert_that_asks_for_nothing_is_taken_note_of(alerted: Any) -> None:
    quiet = {**FIRING, "alerts": [{"status": "resolved", "labels": {"action": "retrain"}}]}
    answer = await alerted.client.post("/alerts", json=quiet, headers=ALLOWED)
    assert (answer.status_code, answer.json()["retrain"]) == (200, None)
    assert await alerted.metric("inference_alerts_total", outcome="not_asked") == 1


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}])
async def test_without_the_token_nothing_is_requested(alerted: Any, headers: dict[str, str]) -> None:
    answer = await alerted.client.post("/alerts", json=FIRING, headers=headers)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert alerted.service.spool.recent(10) == []


@pytest.mark.parametrize(
    "change", [{"version": "3"}, {"groupKey": ""}, {"alerts": "none"}, {"alerts": [{"status": "odd", "labels": {}}]}]
)
async def test_payload_of_another_shape_is_refused(alerted: Any, change: dict[str, Any]) -> None:
    answer = await alerted.client.post("/alerts", json={**FIRING, **change}, headers=ALLOWED)
    assert answer.status_code == 422
    assert alerted.service.spool.recent(10) == []


async def test_unless_switched_on_there_is_no_such_page(served: Any) -> None:
    assert (await served.client.post("/alerts", json=FIRING)).status_code == 404


def test_switching_it_on_needs_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENV_FILE", "/dev/null")
    monkeypatch.setenv("ALERT_RETRAIN", "true")
    with pytest.raises(ConfigError, match="ALERT_RETRAIN needs ALERT_TOKEN"):
        load_settings(InferenceSettings)
