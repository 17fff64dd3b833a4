"""The measurement of the estimate without labels: what it reports, and that the published figures keep the promise."""

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.estimate import CHOICE, CONFIRMATION, PUBLISHED, Outcome, Worlds, main, report
from benchmarks.estimate_choice import CHOICE_RELATIONS, CHOICE_SHIFTS
from benchmarks.estimate_worlds import CONCEPT, MODELS, Case, Found, Trained, draw_classes

CASE = Case("linear", 2, "logistic regression")
NAMES = {
    "unchanged": "rows like the holdout's",
    "shifted": "other rows (covariate shift)",
    "moved": "covariate shift that moves the score by 5% or more",
}


def figures(text: str, name: str) -> list[float]:
    """The numbers of a line: how many estimates, then shares."""
    (line,) = re.findall(rf"^\| {re.escape(name)} \| (.+) \|$", text, re.MULTILINE)
    return [float(part.strip("%").replace(",", "")) / (100 if "%" in part else 1) for part in line.split(" | ")]


def found(shift: str, estimate: float, realised: float, *, covered: bool) -> Found:
    return Found(CASE, shift, "accuracy", estimate, covered, realised, holdout=0.9)


def test_report_has_errors_and_coverage_by_kind_of_change() -> None:
    windows = (
        found("none", 0.91, 0.90, covered=True),
        found("none", 0.90, 0.92, covered=False),
        found("a column higher by 1 sd", 0.85, 0.80, covered=True),
        found("a column lower by 1 sd", 0.89, 0.88, covered=True),
        found(CONCEPT, 0.9, 0.7, covered=False),
    )
    text = report("measured so", [Outcome(CASE, None, windows), Outcome(CASE, "bad", ()), Outcome(CASE, "bad", ())])
    assert "measured so\n" in text
    assert figures(text, NAMES["unchanged"]) == pytest.approx([2, -0.005, 0.015, 0.01, 0.5])
    assert figures(text, NAMES["shifted"]) == pytest.approx([2, 0.03, 0.03, 0.06, 1])
    assert figures(text, NAMES["moved"]) == pytest.approx([1, 0.05, 0.05, 0.1, 1])
    assert figures(text, "another relation (concept shift)") == pytest.approx([1, 0.2, 0.2, 0.2, 0])
    assert figures(text, "logistic regression | none") == pytest.approx([2, -0.005, 0.015, 0.01, 0.5])
    assert "2 of 3 models have no estimates, because their calibration is bad:\n- logistic regression, linear" in text


def test_classes_are_drawn_by_the_relation() -> None:
    rows = np.zeros((3000, 6))
    rows[:, 0] = 1
    random = np.random.default_rng(0)
    assert (draw_classes("linear", rows, 2, random) == "c0").mean() == pytest.approx(1 / (1 + np.exp(-1.5)), abs=0.03)
    assert set(draw_classes("curved", rows, 3, random)) == {"c0", "c1", "c2"}


@pytest.mark.slow
def test_another_relation_lowers_the_score_and_not_the_estimate() -> None:
    trained = Trained(CASE, 1)
    assert trained.calibration.reason is None
    (accuracy,) = [window for window in trained.window(CONCEPT) if window.metric == "accuracy"]
    assert accuracy.holdout - accuracy.realised > 0.05
    assert abs(accuracy.holdout - accuracy.estimate) < 0.03


@pytest.mark.slow
@pytest.mark.parametrize(("options", "worlds"), [([], CONFIRMATION), (["--choice"], CHOICE)])
def test_measure_writes_a_line_for_every_model_and_change(options: list[str], worlds: Worlds, tmp_path: Path) -> None:
    file = tmp_path / "estimate.md"
    assert main([*options, "--repeats", "1", "--report", str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    for model in MODELS:
        for shift in ("none", *worlds.shifts):
            assert f"| {model} | {shift} | " in text


def test_constants_are_not_chosen_by_what_is_published() -> None:
    assert not set(CHOICE.relations) & set(CONFIRMATION.relations)
    assert not set(CHOICE.shifts) & set(CONFIRMATION.shifts)
    assert abs(CHOICE.seed - CONFIRMATION.seed) > 1_000_000
    assert "none" not in CHOICE.shifts
    assert "none" not in CONFIRMATION.shifts


def test_rows_of_the_choice_change_as_their_names_say() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(2000, 6))
    found = {name: shift(rows, random) for name, shift in CHOICE_SHIFTS.items()}
    assert {rows.shape for rows in found.values()} == {(2000, 6)}
    moved = found["four columns moved"] - rows
    assert moved.mean(axis=0) == pytest.approx([0.7, -0.7, 0.3, 0, 0, 0.3])
    assert found["four columns moved back"] - rows == pytest.approx(-moved)
    assert found["all columns closer"] == pytest.approx(0.6 * rows)
    kept = (found["seven of ten rows near"] == rows).mean(axis=0)
    assert kept == pytest.approx([1, 0.3, 0.3, 0.3, 1, 1], abs=0.05)
    assert found["rows selected by two columns"].mean(axis=0) == pytest.approx([0, 0.6, 0.4, 0, 0, 0], abs=0.1)
    assert np.square(found["outer rows"]).mean(axis=0) == pytest.approx([1.5, 1.5, 1.5, 1, 1, 1], abs=0.15)


def test_relations_of_the_choice_have_odds_for_each_class() -> None:
    rows = np.array([[1.0, 1.0, 1.0, 1.0, 1.0, 0.0], [-1.0, -1.0, -1.0, 1.0, 0.0, 0.0]])
    odds = {name: relation(rows, 3) for name, relation in CHOICE_RELATIONS.items()}
    assert odds["steps"] == pytest.approx(np.array([[1.5, 2.2, 0], [-0.8, -1.7, 0]]))
    waves = 0.9 * np.cos(2)
    assert odds["mixed"] == pytest.approx(np.array([[1.3, 1.1 + waves, 0], [-1.8, -1.1 + waves, 0]]))
    assert all(relation(rows, 2).shape == (2, 2) for relation in CHOICE_RELATIONS.values())


def test_published_figures_keep_the_promise() -> None:
    text = PUBLISHED.read_text(encoding="utf-8")
    count, error, *_, covered = figures(text, NAMES["unchanged"])
    assert count >= 500
    assert abs(error) <= 0.01
    assert covered >= 0.93
    _, error, *_, covered = figures(text, NAMES["shifted"])
    assert abs(error) <= 0.02
    assert covered >= 0.93
    _, _, distance, unchanged, _ = figures(text, NAMES["moved"])
    assert distance <= unchanged / 2
