"""The page's table of the audit log."""

from datetime import UTC, datetime
from typing import Any

import pytest

from src.core.audit_log import Entry, Event
from tests.support.page_text import rendered, text_of

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)


def said(*entries: Entry, problem: str | None = None) -> str:
    return text_of(rendered("audit.html", entries=list(entries), problem=problem))


def entry(event: Event = Event.PROMOTED, **given: Any) -> Entry:
    return Entry(at=AT, event=event, **given)


def test_an_empty_log_and_one_that_cannot_be_read() -> None:
    assert said() == "No entries yet."
    assert said(problem="the disk is away") == "the disk is away"


def test_a_row_has_time_event_version_author_and_reason() -> None:
    row = entry(Event.WATCH_ENDED, model="iris", version="3", outcome="rolled_back", by="me", reason="it is worse")
    assert "2026-11-24 12:00:00 UTC watch ended rolled back 3 me it is worse The newest 1 entries" in said(row)
    assert "promoted 3 of wine — — The newest" in said(entry(model="wine", version="3"))
    assert "retrain requested — alert drift" in said(entry(Event.RETRAIN_REQUESTED, source="alert", reason="drift"))


def test_texts_are_escaped() -> None:
    assert "<script>" not in rendered("audit.html", entries=[entry(by="<script>", reason="<script>")], problem=None)


@pytest.mark.anyio
async def test_the_page_shows_the_newest_20_entries_and_updates_them_in_place(served: Any) -> None:
    served.service.audit.append(*(entry(reason=f"fact {number}.") for number in range(21)))
    whole = (await served.client.get("/")).text
    details = whole.partition("<details")[2].partition("</details>")[0]
    assert "fact 20." in details
    assert "fact 1." in details
    assert "fact 0." not in details
    assert 'id="audit"' not in whole.partition("<details")[0]
    news = (await served.client.post("/page/retrain")).text
    part = news.partition('<div id="audit" hx-swap-oob="innerHTML">')[2]
    assert "retrain requested" in text_of(part)


@pytest.mark.anyio
async def test_a_new_entry_changes_the_live_part(served: Any) -> None:
    whole = (await served.client.get("/")).text
    seen, form = (whole.partition(f"{name}=")[2].partition(end)[0] for name, end in (("seen", "&"), ("form", '"')))
    parameters = {"seen": seen, "form": form}
    assert (await served.client.get("/page/live", params=parameters)).status_code == 204
    served.service.audit.append(entry(reason="a new fact"))
    served.service.page.forget()
    assert "a new fact" in (await served.client.get("/page/live", params=parameters)).text
