import math

import numpy as np
import pytest

from src.core.evidence import (
    ALPHA,
    BETS,
    ERRORS_ALPHA,
    LABELS_ALPHA,
    LATENCY_ALPHA,
    NOT_WORSE_ALPHA,
    count_evidence,
    evidence_in_words,
    evidence_not_worse,
    judge,
    log_evidence,
)

LOST, EVEN, WON = -1.0, 0.0, 1.0


def test_evidence_is_the_mean_wealth_of_all_bets() -> None:
    advantages = np.array([LOST, EVEN, WON, -0.5])
    wealth = np.ones_like(BETS)
    expected = []
    for advantage in advantages:
        wealth = wealth * (1 - BETS * advantage)
        expected.append(math.log(wealth.mean()))
    assert log_evidence(advantages) == pytest.approx(expected)


def test_evidence_of_several_runs_is_that_of_each() -> None:
    runs = np.random.default_rng(0).choice([LOST, EVEN, WON], size=(3, 50))
    assert log_evidence(runs) == pytest.approx(np.array([log_evidence(run) for run in runs]))


@pytest.mark.parametrize(("worse", "better"), [(0, 0), (12, 0), (7, 3), (0, 30)])
def test_the_evidence_of_counts_is_that_of_their_rows(worse: int, better: int) -> None:
    rows = np.array([EVEN, *[LOST] * worse, *[WON] * better])
    assert count_evidence(worse, better) == pytest.approx(math.exp(log_evidence(rows)[-1]))


def test_overwhelming_counts_are_finite_evidence() -> None:
    assert math.isfinite(count_evidence(10**6, 0))
    assert count_evidence(0, 10**6) == pytest.approx(0.0)


def test_the_criteria_share_the_error_rate() -> None:
    assert pytest.approx(ALPHA) == LABELS_ALPHA + ERRORS_ALPHA + LATENCY_ALPHA


def test_equal_rows_are_no_evidence() -> None:
    assert log_evidence(np.zeros(1000))[-1] == pytest.approx(0.0)
    assert str(judge(np.zeros(1000), 0.01).drop) == "0.0"


def test_without_labels_there_is_no_verdict() -> None:
    verdict = judge(np.array([]), 0.01)
    assert not verdict.is_worse
    assert (verdict.rows, verdict.drop, verdict.e_value) == (0, 0.0, 1.0)


def test_the_verdict_falls_with_the_first_row_that_reaches_the_limit() -> None:
    advantages = np.full(40, LOST)
    verdict = judge(advantages, 0.01)
    assert verdict.is_worse
    assert verdict.e_value >= 100
    assert math.exp(log_evidence(advantages)[verdict.rows - 2]) < 100
    assert verdict.drop == 1.0


def test_later_wins_do_not_take_a_verdict_back() -> None:
    lost = judge(np.full(40, LOST), 0.01)
    assert judge(np.concatenate([np.full(40, LOST), np.full(400, WON)]), 0.01) == lost


def test_without_a_verdict_the_largest_evidence_is_reported() -> None:
    advantages = np.concatenate([np.full(4, LOST), np.full(20, WON)])
    verdict = judge(advantages, 0.01)
    assert not verdict.is_worse
    assert verdict.rows == 24
    assert verdict.drop == pytest.approx(-16 / 24)
    assert verdict.e_value == pytest.approx(math.exp(log_evidence(advantages)[3]))


def test_a_small_drop_is_no_verdict_however_certain() -> None:
    advantages = np.tile([LOST] + [EVEN] * 49, 200)  # 2 points worse, and never better
    assert judge(advantages, 0.01, least_drop=0.02).is_worse
    assert not judge(advantages, 0.01, least_drop=0.021 + 1 / 50).is_worse


@pytest.mark.parametrize(
    ("evidence", "shown"),
    [(1234.56, "1,234.6"), (1e6, "1,000,000.0"), (1.1e6, "over 1,000,000"), (1e304, "over 1,000,000")],
)
def test_people_see_how_large_the_evidence_is_up_to_a_million(evidence: float, shown: str) -> None:
    assert evidence_in_words(evidence, 1) == shown


def test_overwhelming_evidence_is_a_finite_number() -> None:
    assert math.isfinite(judge(np.full(100_000, LOST), 1e-300).e_value)


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5])
def test_versions_that_are_equally_good_are_rarely_blamed(share: float) -> None:
    runs = np.random.default_rng(1).choice([LOST, EVEN, WON], size=(1000, 1500), p=[share / 2, 1 - share, share / 2])
    blamed = (log_evidence(runs).max(axis=1) >= math.log(20)).mean()
    assert blamed <= 0.05


def test_five_points_are_found_within_two_thousand_labels() -> None:
    runs = np.random.default_rng(2).choice([LOST, EVEN, WON], size=(300, 2000), p=[0.08, 0.89, 0.03])
    assert np.mean([judge(run, 0.01).is_worse for run in runs]) >= 0.95


def test_evidence_for_a_version_is_the_largest_mean_wealth_of_bets_on_advantages_above_the_margin() -> None:
    advantages, margin = np.array([WON, EVEN, EVEN, LOST]), 0.02
    wealth, largest = np.ones_like(BETS), 1.0
    for advantage in advantages:
        wealth = wealth * (1 + BETS / (1 - margin) * (advantage + margin))
        largest = max(largest, wealth.mean())
    assert evidence_not_worse(advantages, margin) == pytest.approx(largest)


def test_without_labels_there_is_no_evidence_for_a_version() -> None:
    assert evidence_not_worse(np.array([]), 0.02) == 1.0
    assert evidence_not_worse(np.full(40, LOST), 0.02) == 1.0


def test_equal_answers_prove_that_a_version_is_not_worse_by_a_margin() -> None:
    assert evidence_not_worse(np.zeros(100), 0.02) < 1 / NOT_WORSE_ALPHA
    assert evidence_not_worse(np.zeros(400), 0.02) >= 1 / NOT_WORSE_ALPHA
    assert math.isfinite(evidence_not_worse(np.full(100_000, WON), 0.02))


@pytest.mark.parametrize("margin", [0.02, 0.1])
def test_versions_that_are_worse_by_the_margin_are_rarely_taken_for_not_worse(margin: float) -> None:
    share = 0.2
    chances = [(share + margin) / 2, 1 - share, (share - margin) / 2]
    runs = np.random.default_rng(3).choice([LOST, EVEN, WON], size=(1000, 1500), p=chances)
    assert np.mean([evidence_not_worse(run, margin) >= 1 / NOT_WORSE_ALPHA for run in runs]) <= NOT_WORSE_ALPHA
    equal = np.random.default_rng(4).choice([LOST, EVEN, WON], size=(100, 6000), p=[share / 2, 1 - share, share / 2])
    assert np.mean([evidence_not_worse(run, margin) >= 1 / NOT_WORSE_ALPHA for run in equal]) >= 0.6
