"""When a canary ends by itself, and the sentences that say why."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from src.core.canary_config import CanaryConfig
from src.core.canary_end import canary_end
from src.core.rollout_record import Decision, Rollout, RolloutState

START = datetime(2026, 11, 30, 12, tzinfo=UTC)
UNTIL = START + timedelta(hours=24)
BEFORE = UNTIL - timedelta(microseconds=1)
PROVED = {"is_not_worse": True, "e_not_worse": 20.5, "rows": 1204}
BY_TIME = CanaryConfig(share=0.05, max_drop=None)
WORSE: dict[str, Any] = {"is_worse": True, "rows": 300, "drop": 0.052, "e_value": 204.0}

UNDECIDED = "undecided after 24 hours:"
FOR = "version 3 is not worse than version 2 by 2.0% or more on 84 labelled rows"
UNPROVED = "labelled rows do not prove that it is not worse by 2.0% or more"


def canary(**given: Any) -> Rollout:
    """Version 3, which has answered all the rows that it has to."""
    some: dict[str, Any] = {
        "model": "iris", "version": "3", "previous": "2", "state": RolloutState.CANARY, "started": START,
        "until": START, "canary": CanaryConfig(share=0.05), "canary_started": START, "answered": 1000,
    }  # fmt: skip
    return Rollout(**some | given)


def decided(now: datetime, **given: Any) -> Decision | None:
    end = canary_end(canary(**given), now)
    return end.decision if end is not None else None


def test_a_canary_goes_on_until_its_time_is_over() -> None:
    assert decided(BEFORE) is None
    assert decided(UNTIL) is Decision.REJECTED


def test_a_proof_promotes_it_at_any_time_once_it_has_its_rows() -> None:
    assert decided(START, **PROVED) is Decision.APPROVED
    assert decided(START, **PROVED, answered=999) is None
    assert decided(UNTIL, **PROVED, answered=999) is Decision.REJECTED
    assert decided(UNTIL, **PROVED) is Decision.APPROVED


def test_without_a_margin_its_time_promotes_it_once_it_has_its_rows() -> None:
    assert decided(BEFORE, canary=BY_TIME) is None
    assert decided(UNTIL, canary=BY_TIME) is Decision.APPROVED
    assert decided(UNTIL, canary=BY_TIME, answered=999) is Decision.REJECTED


@pytest.mark.parametrize("against", [WORSE, {"finding": "version 3 fails"}])
@pytest.mark.parametrize("now", [START, UNTIL])
def test_a_proof_against_it_comes_first(against: dict[str, Any], now: datetime) -> None:
    assert decided(now, **PROVED | against) is Decision.REJECTED
    assert decided(now, canary=BY_TIME, **against) is Decision.REJECTED


@pytest.mark.parametrize(
    "given",
    [
        {"shadow_problem": "it fails"},
        {"decision": Decision.APPROVED},
        {"canary_started": None},
        {"state": RolloutState.AWAITING_APPROVAL},
        {"state": RolloutState.WATCHING},
        {"canary": None},
    ],
)
def test_what_is_no_canary_now_does_not_end_by_itself(given: dict[str, Any]) -> None:
    assert decided(UNTIL, **WORSE | given) is None


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (WORSE, "version 3 is worse than version 2 by 5.2% on 300 labelled rows (evidence 204, needed 200)"),
        ({"finding": "version 3 fails on rows"}, "version 3 fails on rows"),
        (
            PROVED,
            "version 3 is not worse than version 2 by 2.0% or more on 1,204 labelled rows (evidence 20.5, needed 20)",
        ),
        (
            PROVED | {"rows": 84, "e_not_worse": 1e106},
            f"{FOR} (evidence over 1,000,000, needed 20)",
        ),
        ({"canary": BY_TIME}, "nothing is proved against it in 24 hours"),
        ({"canary": BY_TIME, "answered": 999}, f"{UNDECIDED} it answered 999 of 1,000 rows"),
        ({"rows": 84, "e_not_worse": 3.14}, f"{UNDECIDED} 84 {UNPROVED} (evidence 3.1, needed 20)"),
        (PROVED | {"answered": 12}, f"{UNDECIDED} it answered 12 of 1,000 rows"),
        (
            {"answered": 12},
            f"{UNDECIDED} it answered 12 of 1,000 rows, and 0 {UNPROVED} (evidence 1.0, needed 20)",
        ),
    ],
)
def test_the_end_says_why(given: dict[str, Any], reason: str) -> None:
    one = canary(**given)
    end = canary_end(one, UNTIL)
    assert end is not None
    assert (end.by, end.reason) == (f"canary, after {one.answered:,} rows", reason)
