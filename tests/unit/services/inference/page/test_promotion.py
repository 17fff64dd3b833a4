"""What the card of live quality says about the last promotion."""

from datetime import timedelta
from typing import Any

import pytest

from src.core.rollout_record import PairCount, Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.serving.watch.promotions import Promotion
from tests.support.fake_mlflow import FakeMlflow
from tests.support.page_text import NOW, text_of, watched

HOUR = timedelta(hours=1)
UNTIL = "2026-11-24 13:00:00 UTC"
ENDED: dict[str, Any] = {"ended": NOW - 3 * HOUR, "by": "api, 127.0.0.1, request mine", "reason": "callers complain"}
NO_SHADOW = "Version 2 does not answer as a shadow at the moment, so no rows are added."


@pytest.fixture
def mlflow(mlflow: FakeMlflow) -> FakeMlflow:
    """Version 2 is champion, and 1 was it before."""
    mlflow.aliases |= {"champion": "2", "previous": "1"}
    return mlflow


def promotion(state: RolloutState = RolloutState.WATCHING, **given: Any) -> Promotion:
    """The promotion of version 3, which is watched for another hour."""
    some: dict[str, Any] = {
        "id": "0", "version": "3", "previous": "2", "state": state, "started": NOW - HOUR, "until": NOW + HOUR,
        "automatic": True,
        "ended": None, "by": None, "reason": None, "requested": False, "verdict": None, "challenger": {},
        "champion": {},
        "decision": None, "decided_by": None, "decision_reason": None, "rows": 1412, "drop": 0.0, "e_value": 1.0,
        "is_worse": False, "shadow": True, "max_slowdown": 3.0, "errors": PairCount(), "latency": PairCount(),
        "finding": None, "minimum_rows": 0, "approval": "manual", "shadowed": 0, "shadow_problem": None,
        "comparison": None, "canary": None, "canary_started": None, "answered": 0, "e_not_worse": 1.0,
        "is_not_worse": False,
    }  # fmt: skip
    return Promotion(**some | given)


def said(**given: Any) -> str:
    """What a person reads between the card's title and its other sentences, of which the first is about no model."""
    card = text_of(watched(**given).partition('id="quality-title"')[2].partition(">")[2])
    return card.removeprefix("Live quality").partition("No model is served")[0].strip()


def test_nothing_is_said_without_a_record() -> None:
    assert said() == ""


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {},
            (
                f"Version 3 is watched until {UNTIL} , compared with version 2 on 1,412 labelled rows: no proof that "
                "it is worse."
            ),
        ),
        (
            {"rows": 0},
            (
                f"Version 3 is watched until {UNTIL} , compared with version 2: no row that both have answered has a "
                "label yet."
            ),
        ),
        (
            {"is_worse": True, "drop": 0.0529},
            (
                "Version 3 is worse than version 2 by 5.3% on 1,412 labelled rows. It is not rolled back "
                "automatically: check it, and roll back above."
            ),
        ),
        (
            {"is_worse": True, "drop": 0.0529, "requested": True},
            (
                "Version 3 is worse than version 2 by 5.3% on 1,412 labelled rows. Its rollback was requested, and has "
                "not succeeded yet."
            ),
        ),
        (
            {"finding": "version 3 fails"},
            "Version 3 fails. It is not rolled back automatically: check it, and roll back above.",
        ),
        (
            {"finding": "version 3 fails", "requested": True},
            "Version 3 fails. Its rollback was requested, and has not succeeded yet.",
        ),
    ],
)
def test_a_watch_is_described_with_its_evidence(given: dict[str, Any], says: str) -> None:
    assert said(promotion=promotion(**given)) == says


def test_without_a_prediction_log_nothing_can_be_compared() -> None:
    assert said(promotion=promotion(shadow=False, rows=0), logs=False) == (
        f"Version 3 is watched until {UNTIL} . It cannot be compared with version 2, because the prediction log is off."
    )


def test_a_watch_that_ended_without_a_prediction_log_is_described() -> None:
    assert said(promotion=promotion(until=NOW - HOUR, shadow=False), logs=False) == (
        "Version 3 was not compared with version 2 until the end of its watch, 1 h ago , because the prediction log is "
        "off."
    )


@pytest.mark.parametrize(
    ("given", "is_said"),
    [
        ({"shadow": False}, True),
        ({"shadow": True}, False),
        ({"shadow": False, "until": NOW + timedelta(seconds=1)}, True),
        ({"shadow": False, "until": NOW}, False),
    ],
)
def test_a_shadow_that_does_not_answer_is_reported_until_the_end(given: dict[str, Any], *, is_said: bool) -> None:
    assert said(promotion=promotion(**given)).endswith(NO_SHADOW) == is_said


def test_a_watch_that_does_not_end_is_reported() -> None:
    says = "The watch of version 3 should have ended 10 min ago ; check that the quality service runs."
    minutes = timedelta(minutes=10)
    assert said(promotion=promotion(until=NOW - minutes)).startswith("Version 3 is watched")
    assert said(promotion=promotion(until=NOW - minutes - timedelta(seconds=1), is_worse=True)) == says


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"state": RolloutState.KEPT},
            "Version 3 was kept at the end of its watch, 3 h ago : callers complain.",
        ),
        (
            {"state": RolloutState.ROLLED_BACK},
            "Version 3 was rolled back to version 2, 3 h ago , by api, 127.0.0.1, request mine: callers complain.",
        ),
        (
            {"state": RolloutState.ROLLED_BACK, "requested": True},
            (
                "Version 3 was rolled back to version 2 automatically, 3 h ago , because callers complain. The next "
                "promotion will not be rolled back automatically: check why the gate accepted this one."
            ),
        ),
    ],
)
def test_the_end_of_a_watch_is_described_with_its_reason(given: dict[str, Any], says: str) -> None:
    assert said(promotion=promotion(**ENDED | given, until=NOW - HOUR)) == says


@pytest.mark.parametrize(
    ("given", "stands_out"),
    [
        ({}, False),
        ({"is_worse": True}, True),
        ({"finding": "version 3 fails"}, True),
        ({"state": RolloutState.KEPT, **ENDED}, False),
        ({"state": RolloutState.KEPT, "is_worse": True, **ENDED}, True),
        ({"state": RolloutState.KEPT, "finding": "version 3 fails", **ENDED}, True),
        ({"state": RolloutState.ROLLED_BACK, **ENDED}, False),
        ({"state": RolloutState.ROLLED_BACK, "requested": True, **ENDED}, True),
    ],
)
def test_what_a_person_must_check_stands_out(given: dict[str, Any], *, stands_out: bool) -> None:
    assert ('class="notice doubt">Version 3' in watched(promotion=promotion(**given))) == stands_out


def test_reasons_are_escaped() -> None:
    markup = watched(promotion=promotion(RolloutState.ROLLED_BACK, **ENDED | {"reason": "<b>"}))
    assert "request mine: &lt;b&gt;." in markup


@pytest.mark.anyio
async def test_the_page_follows_the_records(served: Any) -> None:
    assert "is watched" not in text_of((await served.client.get("/")).text)
    rollouts = Rollouts(served.service.settings.rollouts_dir)
    rollouts.begin(Rollout(model="iris", version="1", previous="0", started=NOW, until=NOW + HOUR))
    rollouts.begin(Rollout(model="iris", version="2", previous="1", started=NOW, until=NOW + 99999 * HOUR))
    assert "is watched" not in text_of((await served.client.get("/")).text)  # for a second
    served.service.page.forget()
    text = text_of((await served.client.get("/")).text)
    assert "Version 2 is watched until" in text
    assert "Version 1 was kept" not in text
    await served.client.post("/page/rollback", params={"champion": "2"})
    text = text_of((await served.client.get("/")).text)
    assert "Version 2 was rolled back to version 1, just now , by page, " in text


@pytest.mark.anyio
async def test_records_that_cannot_be_read_are_reported(served: Any) -> None:
    folder = served.service.settings.rollouts_dir
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("in the folder's place")
    text = text_of((await served.client.get("/")).text)
    assert "the records of promotions cannot be read (Not a directory)" in text
