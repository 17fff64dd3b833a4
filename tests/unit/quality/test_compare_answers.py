"""How two versions have answered the same rows: what is compared, of which rows, and in which direction."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from src.core.rollout_record import Rollout, RolloutState
from src.core.version_comparison import VersionAnswers, VersionComparison
from src.quality import live_quality
from src.quality.compare_answers import MAX_CLASSES
from tests.support.quality_rows import HOUR, NOW, CountingScorer, Given, Row, joined

WAITING, WATCHING = RolloutState.AWAITING_APPROVAL, RolloutState.WATCHING


def rollout(state: RolloutState = WAITING) -> Rollout:
    """Version 2, which may follow version 1, or has."""
    return Rollout(model="iris", version="2", previous="1", state=state, started=NOW - 2 * HOUR, until=NOW + HOUR)


def both(name: str, new: str, previous: str, state: RolloutState = WAITING, **given: Any) -> list[Row]:
    """The rows of both versions; ``shares`` are those of the new one and of the previous one."""
    shares = given.pop("shares", (None, None))
    roles = ("shadow", "champion") if state is WAITING else ("champion", "shadow")
    return [
        Row(name, version="2", role=roles[0], prediction=new, shares=shares[0], **given),
        Row(name, version="1", role=roles[1], prediction=previous, shares=shares[1], **given),
    ]


def compare(
    folder: Path,
    rows: list[Row],
    labels: Sequence[Given] = (),
    state: RolloutState = WAITING,
    *,
    by_class: bool = True,
) -> VersionComparison:
    scorer = CountingScorer(by_class=by_class)
    with joined(folder, rows, labels, scorer) as quality:
        return quality.compared(rollout(state), quality.versions())


@pytest.mark.parametrize("state", [WAITING, WATCHING])
def test_agreement_and_shifts_are_of_the_rows_that_both_have_answered(tmp_path: Path, state: RolloutState) -> None:
    shares = ({"a": 0.75, "b": 0.25}, {"a": 0.25, "b": 0.75})
    rows = [
        *both("r", "a", "a", state, shares=shares),
        *both("s", "a", "b", state, shares=shares),
        *both("t", "b", "b", state, shares=shares),
        *both("u", "b", "b", state, shares=({"a": 0.35, "b": 0.65}, {"a": 0.25, "b": 0.75})),
        *both("before", "a", "b", state, ago=3 * HOUR, shares=shares),
        both("alone", "a", "b", state, shares=shares)[0],
        both("alone too", "a", "b", state, shares=shares)[1],
        Row("v", version="2", role="champion" if state is WAITING else "shadow"),
        Row("v", version="1", role="shadow" if state is WAITING else "champion"),
    ]
    found = compare(tmp_path, rows, state=state)
    assert (found.rows, found.agreement) == (4, 0.75)
    assert (found.mean_difference, found.correlation) == (None, None)
    assert found.version.means == pytest.approx({"a": 0.65, "b": 0.35})
    assert found.previous.means == pytest.approx({"a": 0.25, "b": 0.75})
    assert found.shifts == pytest.approx({"a": 0.4, "b": -0.4})


def test_numbers_are_compared_by_difference_and_correlation(tmp_path: Path) -> None:
    pairs = [("1", "2"), ("2", "4"), ("3", "6"), ("nan", "1"), ("1e200", "1"), ("1", "x")]
    rows = [row for place, (new, previous) in enumerate(pairs) for row in both(f"r{place}", new, previous)]
    found = compare(tmp_path, rows, by_class=False)
    assert (found.rows, found.agreement) == (6, None)
    assert (found.mean_difference, found.correlation) == (pytest.approx(2.0), pytest.approx(1.0))
    assert (found.version.means, found.previous.means) == ({"prediction": 2.0}, {"prediction": 4.0})
    assert found.shifts == {"prediction": -2.0}


def test_constant_numbers_have_no_correlation(tmp_path: Path) -> None:
    rows = [row for place in range(3) for row in both(f"r{place}", "1", "2")]
    found = compare(tmp_path, rows, by_class=False)
    assert (found.mean_difference, found.correlation) == (1.0, None)


@pytest.mark.parametrize("by_class", [True, False])
def test_without_rows_of_both_there_is_nothing_to_compare(tmp_path: Path, *, by_class: bool) -> None:
    assert compare(tmp_path, [Row("r")], by_class=by_class) == VersionComparison(rows=0)


def test_classes_without_probabilities_have_agreement_alone(tmp_path: Path) -> None:
    found = compare(tmp_path, both("r", "a", "a"))
    assert found == VersionComparison(rows=1, agreement=1.0)


def test_a_class_that_only_one_version_knows_has_no_shift(tmp_path: Path) -> None:
    found = compare(tmp_path, both("r", "a", "a", shares=({"a": 0.6, "c": 0.4}, {"a": 1.0})))
    assert found.version.means == {"a": 0.6, "c": 0.4}
    assert found.shifts == pytest.approx({"a": -0.4})


def test_scores_are_those_of_the_versions_in_their_roles(tmp_path: Path) -> None:
    rows = [*both("r", "a", "b"), *both("s", "a", "a"), Row("t", version="2", prediction="b")]
    labels = [Given("a", id=name) for name in ("r", "s", "t")]
    found = compare(tmp_path, rows, labels)
    assert found.version == VersionAnswers(scores={"accuracy": 1.0}, scored=2)
    assert found.previous == VersionAnswers(scores={"accuracy": 0.5}, scored=2)


def test_only_the_newest_rows_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_quality, "MAX_PAIRS", 2)
    rows = [*both("old", "a", "b", ago=1.5 * HOUR), *both("r", "a", "a"), *both("s", "a", "a")]
    found = compare(tmp_path, rows)
    assert (found.rows, found.agreement) == (2, 1.0)


def test_of_many_classes_the_first_are_compared(tmp_path: Path) -> None:
    shares = {f"c{place:02}": 1 / 60 for place in range(60)}
    found = compare(tmp_path, both("r", "c00", "c00", shares=(shares, shares)))
    assert list(found.shifts) == sorted(shares)[:MAX_CLASSES]


@pytest.mark.parametrize("state", [WAITING, WATCHING])
def test_rows_and_pairs_are_those_of_the_role(tmp_path: Path, state: RolloutState) -> None:
    rows = [
        *both("r", "a", "b", state),
        *both("s", "b", "a", state, ago=HOUR / 2),
        *both("early", "b", "a", state, ago=2 * HOUR),
        *both("before", "b", "a", state, ago=3 * HOUR),
        Row("t", version="2", role="champion" if state is WAITING else "shadow"),
        Row("u", version="3", role="shadow" if state is WAITING else "champion"),
    ]
    labels = [Given("a", id="r", ago=HOUR / 4), Given("b", id="s"), Given("b", id="before"), Given("a", id="t")]
    with joined(tmp_path, rows, labels) as quality:
        assert quality.answered(rollout(state)) == 3
        pairs = quality.pairs(rollout(state))
        columns = (pairs.truth, pairs.new, pairs.previous)
        assert [column.tolist() for column in columns] == [["a", "b"], ["a", "b"], ["b", "a"]]


def test_versions_that_are_not_in_the_report_have_no_scores(tmp_path: Path) -> None:
    with joined(tmp_path, both("r", "a", "a"), [Given("a", id="r")]) as quality:
        found = quality.compared(rollout(), [])
    assert found.version == VersionAnswers()
