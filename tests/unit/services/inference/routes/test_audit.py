from datetime import UTC, datetime
from typing import Any

import pytest

from src.core.audit_log import AuditLog, Entry, Event

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def write(served: Any, *names: str) -> None:
    entries = [Entry(id=name, at=NOW, event=Event.PROMOTED, model="iris", version="2") for name in names]
    AuditLog(served.service.settings.audit_file).append(*entries)


async def page(served: Any, **parameters: Any) -> tuple[list[str], int | None]:
    answer = await served.client.get("/audit", params=parameters)
    assert answer.status_code == 200
    found = answer.json()
    return [entry["id"] for entry in found["entries"]], found["before"]


async def test_before_the_first_entry_the_log_is_empty(served: Any) -> None:
    assert await page(served) == ([], None)


async def test_an_entry_has_all_fields(served: Any) -> None:
    write(served, "a")
    (entry,) = (await served.client.get("/audit")).json()["entries"]
    assert entry == {
        "id": "a", "at": "2026-11-30T00:00:00Z", "event": "promoted", "model": "iris", "version": "2",
        "previous": None, "outcome": None, "source": None, "by": None, "reason": None, "request_id": None,
        "rollout_id": None,
    }  # fmt: skip


async def test_pages_lead_to_the_oldest_entry(served: Any) -> None:
    write(served, *(str(number) for number in range(25)))
    newest, before = await page(served)
    assert newest == [str(number) for number in range(24, 4, -1)]
    assert before is not None
    assert await page(served, before=before, limit=5) == (["4", "3", "2", "1", "0"], None)
    assert (await page(served, limit=2))[0] == ["24", "23"]
    write(served, "new")
    assert await page(served, before=before, limit=100) == (["4", "3", "2", "1", "0"], None)


async def test_retrain_requests_are_entries_with_their_clients(served: Any) -> None:
    first = await served.client.post("/retrain?source=schedule", headers={"X-Request-ID": "mine"})
    await served.client.post("/page/retrain", headers={"X-Request-ID": "yours"})
    newest, oldest = (await served.client.get("/audit")).json()["entries"]
    assert (oldest["event"], oldest["source"], oldest["request_id"]) == (
        "retrain_requested",
        "schedule",
        first.json()["id"],
    )
    assert oldest["by"] == "api, 127.0.0.1, request mine"
    assert (newest["source"], newest["by"]) == ("api", "page, 127.0.0.1, request yours")


async def test_the_log_needs_no_model(unready: Any) -> None:
    write(unready, "a")
    assert await page(unready) == (["a"], None)


@pytest.mark.parametrize("parameters", [{"limit": 0}, {"limit": 101}, {"before": -1}, {"before": "a"}, {"after": 1}])
async def test_wrong_parameters_are_refused(served: Any, parameters: dict[str, Any]) -> None:
    assert (await served.client.get("/audit", params=parameters)).status_code == 422


async def test_a_log_that_cannot_be_read_is_unavailable(served: Any) -> None:
    served.service.settings.audit_file.mkdir(parents=True)
    answer = await served.client.get("/audit")
    assert answer.status_code == 503
    assert "the audit log cannot be used (Is a directory)" in answer.json()["detail"]


async def test_the_route_is_documented_and_counted(served: Any) -> None:
    await page(served)
    document = (await served.client.get("/openapi.json")).json()
    assert {"200", "422", "503"} <= document["paths"]["/audit"]["get"]["responses"].keys()
    labels = {"route": "/audit", "method": "GET", "status": "200"}
    assert await served.metric("inference_http_requests_total", **labels) == 1
