"""The measure of the gate with labelled live rows at a reduced size, and its published results."""

import re

import pytest

from benchmarks.gate import measure_feedback
from benchmarks.gate.measure_feedback import PUBLISHED, change, measure, no_change, report
from benchmarks.gate.outcomes import MOST_WRONG
from benchmarks.gate.pairs import POINTS

RUNS = 8


def figures(page: str) -> dict[str, list[float]]:
    """Each line's shares, in percent: restricted, promoted, and promoted by all rows."""
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in page.splitlines() if "%" in line]
    return {cells[0]: [float(cell.rstrip("%")) for cell in cells[2:]] for cells in lines}


def test_model_of_a_changed_world_is_promoted_by_live_rows_and_rejected_by_all_rows() -> None:
    found = [change(seed, 10.0) for seed in range(RUNS)]
    assert all(outcome.restricted and outcome.promoted for outcome in found)
    assert not any(outcome.by_all_rows for outcome in found)
    # The more live rows count, the better the new world is learned.
    assert all(outcome.truth > change(seed, 1.0).truth + 0.05 for seed, outcome in enumerate(found[:2]))


def test_worse_model_of_an_unchanged_world_is_rejected_by_live_rows() -> None:
    found = [no_change(seed) for seed in range(RUNS)]
    assert sum(outcome.promoted for outcome in found) <= 1
    assert sum(outcome.restricted for outcome in found) >= RUNS - 1
    assert all(-2 * POINTS < outcome.truth <= -POINTS for outcome in found)


def test_report_has_a_line_for_each_weight_and_world(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = measure_feedback.Outcome(0.05, promoted=True, by_all_rows=False, restricted=True)
    monkeypatch.setattr(measure_feedback, "change", lambda _, weight: outcome if weight > 1 else _unchanged())
    monkeypatch.setattr(measure_feedback, "no_change", lambda _: outcome)
    page = report("conditions", 4, measure(4))
    assert figures(page)["changed; weight 3"] == [100, 100, 0]
    assert figures(page)["changed; weight 1"] == [0, 0, 100]
    assert "| changed; weight 10 | +5.0 (+5.0 to +5.0) |" in page


def _unchanged() -> measure_feedback.Outcome:
    return measure_feedback.Outcome(0.0, promoted=False, by_all_rows=True, restricted=False)


def test_published_results_are_of_a_whole_run_and_keep_the_promise() -> None:
    page = PUBLISHED.read_text(encoding="utf-8")
    assert re.search(r"^`make measure-feedback`, commit [0-9a-f]{7,},", page, re.MULTILINE)
    found = figures(page)
    assert found["unchanged, the challenger is worse"][1] <= 100 * MOST_WRONG
    assert found["changed; weight 10"][1] >= 100 * (1 - MOST_WRONG)
    assert found["changed; weight 10"][2] <= 100 * MOST_WRONG
