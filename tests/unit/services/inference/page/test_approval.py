"""The card of the version that awaits approval, and its buttons."""

import re
from datetime import timedelta
from typing import Any

import pytest

from src.core.canary_config import CanaryConfig
from src.core.rollout_record import Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.serving.watch.promotions import Promotion
from tests.support.fake_mlflow import FakeMlflow
from tests.support.page_text import NOW, text_of, watched

HOUR = timedelta(hours=1)
KEY = "k" * 16


@pytest.fixture
def mlflow(mlflow: FakeMlflow) -> FakeMlflow:
    """Version 1 is champion."""
    mlflow.aliases |= {"champion": "1", "challenger": "2"}
    return mlflow


def rollout(**given: Any) -> Rollout:
    """Version 2, which awaits approval."""
    some: dict[str, Any] = {
        "model": "iris", "version": "2", "previous": "1", "state": RolloutState.AWAITING_APPROVAL,
        "started": NOW - HOUR, "until": NOW, "verdict": "f1_macro 0.95 (floor 0.85)", "best": "2",
        "challenger": {"f1_macro": 0.95, "accuracy": 0.9}, "champion": {"f1_macro": 0.91},
    }  # fmt: skip
    return Rollout(**some | given)


def card(**given: Any) -> str:
    one = rollout(**given)
    shown = one.model_dump(include=set(Promotion.model_fields)) | {"canary_until": one.canary_until}
    found = Promotion(**shown, shadow=False)
    return watched(candidate=found).partition("</section>")[0]


def test_nothing_is_shown_where_no_version_needs_an_approval() -> None:
    assert "approval-title" not in watched()


def test_waiting_version_is_shown_with_its_scores_beside_the_champions() -> None:
    text = text_of(card())
    assert "Approval waiting" in text
    assert "Since 1 h ago , version 2 has passed the gate and awaits approval: f1_macro 0.95 (floor 0.85)." in text
    assert "version 2 champion, version 1 f1_macro 0.9500 0.9100 accuracy 0.9000 — Approve Reject" in text


def test_buttons_name_the_record_and_ask_before() -> None:
    one = rollout()
    found = Promotion(**one.model_dump(include=set(Promotion.model_fields)), shadow=False)
    markup = watched(candidate=found)
    for way in ("approve", "reject"):
        (button,) = re.findall(rf'<button id="{way}".*?>', markup)
        assert f'hx-post="page/{way}?id={one.id}"' in button
        assert "hx-confirm" in button


def test_decision_that_is_being_carried_out_has_no_buttons() -> None:
    markup = card(decision="approved", decided_by="ann <b>")
    assert "It was approved by ann &lt;b&gt;, which is carried out as soon as MLflow answers." in markup
    assert "<button" not in markup


@pytest.mark.parametrize(("decision", "word"), [("rejected", "rejected"), (None, "aborted")])
def test_end_is_described_with_its_reason(decision: str | None, word: str) -> None:
    ended: dict[str, Any] = {"state": RolloutState.ABORTED, "ended": NOW - 2 * HOUR, "by": "ann", "reason": "too old"}
    markup = card(**ended, decision=decision)
    assert text_of(markup).endswith(f"not replaced by version 2 , 2 h ago : {word} by ann, too old.")
    assert "<button" not in markup


@pytest.mark.anyio
async def test_version_is_approved_on_the_page(served: Any) -> None:
    one = rollout()
    Rollouts(served.service.settings.rollouts_dir).begin(one)
    served.service.page.forget()
    assert "version 2 has passed the gate" in text_of((await served.client.get("/")).text)
    answer = await served.client.post("/page/approve", params={"id": one.id})
    assert "Version 2 is champion. It is served now." in text_of(answer.text)
    assert "has passed the gate" not in text_of(answer.text)
    assert served.mlflow.aliases["champion"] == "2"
    stored = Rollouts(served.service.settings.rollouts_dir).get(one.id)
    assert stored is not None
    assert (stored.decided_by or "").startswith("page, 127.0.0.1, request ")
    again = await served.client.post("/page/reject", params={"id": one.id})
    assert "Not rejected: version 2 does not await approval" in text_of(again.text)
    assert 'class="notice failed"' in again.text


@pytest.mark.anyio
async def test_version_is_rejected_on_the_page(served: Any) -> None:
    one = rollout()
    Rollouts(served.service.settings.rollouts_dir).begin(one)
    answer = await served.client.post("/page/reject", params={"id": one.id})
    assert "Version 2 was rejected; the champion stays." in text_of(answer.text)
    assert "The champion was not replaced by version 2 , just now : rejected by page, " in text_of(answer.text)
    assert served.mlflow.aliases["champion"] == "1"
    again = await served.client.post("/page/approve", params={"id": one.id})
    assert "Not approved: version 2 does not await approval" in text_of(again.text)


@pytest.mark.anyio
async def test_unfinished_approval_is_reported(served: Any) -> None:
    one = rollout()
    Rollouts(served.service.settings.rollouts_dir).begin(one)

    def fail(path: str) -> None:
        served.mlflow.down = served.mlflow.down or path.endswith("set-tag")

    served.mlflow.before_answer = fail
    answer = await served.client.post("/page/approve", params={"id": one.id})
    assert "the approval of version 2 is recorded, and not carried out yet" in text_of(answer.text)
    assert "It was approved by page, 127.0.0.1," in text_of(answer.text)


@pytest.mark.anyio
async def test_waiting_version_is_shown_beside_the_last_promotion(served: Any) -> None:
    records = Rollouts(served.service.settings.rollouts_dir)
    records.begin(Rollout(model="iris", version="1", previous="0", started=NOW, until=NOW + 99999 * HOUR))
    records.begin(rollout())
    served.service.page.forget()
    text = text_of((await served.client.get("/")).text)
    assert "version 2 has passed the gate" in text
    assert "Version 1 is watched until" in text


@pytest.mark.anyio
@pytest.mark.parametrize("way", ["approve", "reject"])
async def test_buttons_need_the_key_and_the_own_page(serving: Any, mlflow: Any, tmp_path: Any, way: str) -> None:
    async with serving(tmp_path, mlflow, write_api_key=KEY) as served:
        given = {"id": rollout().id}
        assert (await served.client.post(f"/page/{way}", params=given)).status_code == 401
        headers = {"Authorization": f"Bearer {KEY}"}
        other = headers | {"Sec-Fetch-Site": "cross-site"}
        assert (await served.client.post(f"/page/{way}", params=given, headers=other)).status_code == 403
        assert (await served.client.post(f"/page/{way}", params=given, headers=headers)).status_code == 200


CANARY: dict[str, Any] = {
    "state": RolloutState.CANARY, "canary": CanaryConfig(share=0.05, hours=3), "canary_started": NOW - HOUR,
    "answered": 312,
}  # fmt: skip


def test_canary_is_shown_with_its_rows_and_its_evidence() -> None:
    text = text_of(card(**CANARY, rows=84, e_value=1.5, e_not_worse=3.14))
    assert "Canary running Version 2 answers 5 % of the requests, until 2026-11-24 14:00:00 UTC at the latest." in text
    assert "It has answered 312 rows, of at least 1,000." in text
    assert "On 84 labelled rows that both versions have answered, there is no proof that it is worse" in text
    assert "(evidence 1.5 of 200)" in text
    assert "It is not proved yet not to be worse by 2.0% or more (evidence 3.1 of 20)." in text
    assert text.endswith("Promote now Abort")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "No row that both versions have answered has a label yet."),
        ({"rows": 9, "is_worse": True}, "it is proved to be worse"),
        ({"rows": 9, "is_not_worse": True}, "It is proved not to be worse by 2.0% or more"),
        (
            {"canary": CanaryConfig(share=0.05, max_drop=None)},
            "It is promoted at its end unless it is proved to be worse.",
        ),
        ({"finding": "version 2 fails"}, "Version 2 fails."),
        ({"canary_started": None}, "It will answer 5 % of the requests as soon as version 1 is no longer watched."),
        ({"shadow_problem": "the log is off"}, "The log is off. Version 2 is no canary any more: all requests are"),
    ],
)
def test_what_a_canary_waits_for_is_described(given: dict[str, Any], says: str) -> None:
    assert says in text_of(card(**CANARY | given))


@pytest.mark.anyio
async def test_canary_is_started_and_promoted_on_the_page(served: Any) -> None:
    one = rollout(canary=CanaryConfig(share=0.05))
    Rollouts(served.service.settings.rollouts_dir).begin(one)
    served.service.page.forget()
    assert "Start the canary Reject" in text_of((await served.client.get("/")).text)
    answer = await served.client.post("/page/approve", params={"id": one.id})
    assert "Version 2 is a canary: it answers a share of the requests within seconds." in text_of(answer.text)
    (button,) = re.findall(r'<button id="approve".*?>', answer.text)
    (path,) = re.findall(r'hx-post="(.*?)"', button)
    assert path == f"page/approve?id={one.id}&amp;promote=true"
    answer = await served.client.post("/" + path.replace("&amp;", "&"))
    assert "Version 2 is champion. It is served now." in text_of(answer.text)
