"""Two versions side by side on the page, and how far a version is that has to answer rows."""

from datetime import timedelta
from typing import Any

import pytest

from src.core.rollout_record import Rollout, RolloutState
from src.core.version_comparison import VersionAnswers, VersionComparison
from src.serving.watch.promotions import Promotion
from tests.support.page_text import NOW, text_of, watched

HOUR = timedelta(hours=1)
CLASSES = VersionComparison(
    rows=1412,
    agreement=0.953,
    version=VersionAnswers(means={"a": 0.5, "b": 0.5}, scores={"f1_macro": 0.9, "own": 1.0}, scored=30),
    previous=VersionAnswers(means={"a": 0.25, "b": 0.75}, scores={"f1_macro": 0.95}, scored=40),
    shifts={"a": 0.25, "b": -0.25},
)
NUMBERS = VersionComparison(
    rows=3,
    mean_difference=0.5,
    correlation=0.98765,
    version=VersionAnswers(means={"prediction": 2.0}),
    previous=VersionAnswers(means={"prediction": 3.0}),
    shifts={"prediction": -1.0},
)


def shown(*, shadow: bool = True, **given: Any) -> Promotion:
    """Version 3, which has answered 412 of 1,000 rows."""
    some: dict[str, Any] = {
        "model": "iris", "version": "3", "previous": "2", "state": RolloutState.AWAITING_APPROVAL,
        "started": NOW - HOUR, "until": NOW + HOUR, "minimum_rows": 1000, "shadowed": 412, "approval": "automatic",
        "verdict": "passed",
    }  # fmt: skip
    return Promotion(**Rollout(**some | given).model_dump(include=set(Promotion.model_fields)), shadow=shadow)


def card(*, logs: bool = True, **given: Any) -> str:
    return text_of(watched(candidate=shown(**given), logs=logs).partition("</section>")[0])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "it has answered 412 of 1,000 rows. Then it is promoted, unless true labels prove that it is worse."),
        ({"approval": "manual"}, "412 of 1,000 rows. Then a person decides, unless true labels"),
        ({"approval": "manual", "shadowed": 1000}, "1,000 of 1,000 rows. It is ready: approve or reject it."),
        ({"shadowed": 1000}, "1,000 of 1,000 rows. Then it is promoted"),
        ({"rows": 50}, "Compared on 50 labelled rows: no proof that it is worse."),
        ({"rows": 50, "is_worse": True, "drop": 0.1}, "Compared on 50 labelled rows: it is worse by 10.0%."),
        ({"shadow": False}, "It does not answer rows at the moment."),
        ({"shadow": False, "logs": False}, "at the moment, because the prediction log is off."),
        ({"shadow_problem": "version 3 fails: a person decides"}, "Version 3 fails: a person decides."),
    ],
)
def test_progress_is_described(given: dict[str, Any], says: str) -> None:
    text = card(**given)
    assert says in text
    assert "version 3 has passed the gate and awaits rows: passed." in text
    assert ("does not answer" in text) == (given.get("shadow") is False)


def test_version_that_needs_no_rows_has_no_progress() -> None:
    assert "As a shadow" not in card(minimum_rows=0)


def test_decided_version_has_no_progress() -> None:
    assert "As a shadow" not in card(decision="approved", decided_by="ann")


@pytest.mark.parametrize("state", [RolloutState.AWAITING_APPROVAL, RolloutState.WATCHING])
def test_versions_are_side_by_side_before_and_after_a_promotion(state: RolloutState) -> None:
    one = shown(state=state, comparison=CLASSES)
    text = text_of(watched(candidate=one) if state is RolloutState.AWAITING_APPROVAL else watched(promotion=one))
    assert "Of the newest 1,412 rows that both versions have answered, 95.3% have equal predictions." in text
    assert "version 3 version 2 difference mean probability of a 0.5000 0.2500 0.2500" in text
    assert "mean probability of b 0.5000 0.7500 -0.2500 live f1_macro 0.9000 0.9500 -0.0500" in text
    assert "live own 1.0000 — — newest labels 30 40" in text


def test_numbers_are_side_by_side() -> None:
    text = card(comparison=NUMBERS)
    assert "the predictions differ by 0.5000 on average (correlation 0.988)." in text
    assert "mean prediction 2.0000 3.0000 -1.0000" in text
    assert "newest labels" not in text
    assert "(correlation" not in card(comparison=NUMBERS.model_copy(update={"correlation": None}))


@pytest.mark.parametrize("comparison", [None, VersionComparison(rows=0)])
def test_without_rows_of_both_nothing_is_compared(comparison: VersionComparison | None) -> None:
    assert "have answered," not in card(comparison=comparison)
    one = shown(state=RolloutState.WATCHING, comparison=comparison)
    assert "have answered," not in text_of(watched(promotion=one))


def test_names_of_classes_are_escaped_and_many_are_left_out() -> None:
    names = {"<b>": 0.5}
    given = {"version": VersionAnswers(means=names), "previous": VersionAnswers(means=names), "shifts": {"<b>": 0.0}}
    markup = watched(candidate=shown(comparison=CLASSES.model_copy(update=given)))
    assert "mean probability of &lt;b&gt;" in markup
    names = {f"c{place}": 0.0 for place in range(13)}
    given = {"version": VersionAnswers(means=names), "previous": VersionAnswers(means=names), "shifts": names}
    assert "mean probability of" not in watched(candidate=shown(comparison=CLASSES.model_copy(update=given)))
