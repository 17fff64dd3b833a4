from pathlib import Path

import pytest

from benchmarks.estimators.cases import OWN_CLASSIFIER, OWN_REGRESSOR, Case, Outcome, cases
from benchmarks.estimators.measurement import is_equal
from benchmarks.estimators.reference import Reference
from benchmarks.measure_estimators import ALL_HOLD, PUBLISHED, main, report

FOREST, OWN = Case("random_forest", "iris"), Case(OWN_CLASSIFIER, "churn")
SERVED = Outcome(FOREST, 20.4, "promoted", "passed", "onnx", 1490, 1490)
ON_PYFUNC = Outcome(OWN, 31.0, "promoted", "no conversion to ONNX", "pyfunc", 4000, 4000)


def test_every_estimator_and_an_own_class_are_measured_on_each_table_of_their_task() -> None:
    found = cases()
    for table in ("iris", "churn"):
        assert {case.estimator for case in found if case.table == table} == {
            "random_forest",
            "extra_trees",
            "gradient_boosting",
            "hist_gradient_boosting",
            "logistic_regression",
            "xgboost",
            OWN_CLASSIFIER,
        }
    assert {case.estimator for case in found if case.table == "house prices"} == {
        "random_forest",
        "extra_trees",
        "gradient_boosting",
        "hist_gradient_boosting",
        "ridge",
        "xgboost",
        OWN_REGRESSOR,
    }
    assert len({case.model_name for case in found}) == len(found)


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [
        (SERVED, ""),
        (ON_PYFUNC, ""),
        (Outcome(FOREST, 1.0, "rejected: worse"), "not promoted: rejected: worse"),
        (Outcome(FOREST, 1.0, "promoted", "no", "pyfunc", 3, 3), "served on pyfunc, not on onnx; onnx.parity: no"),
        (Outcome(OWN, 1.0, "promoted", "passed", "pyfunc", 3, 3), "served on pyfunc although onnx.parity is passed"),
        (Outcome(FOREST, 1.0, "promoted", "no", "onnx", 3, 3), "served on onnx although onnx.parity is no"),
        (Outcome(FOREST, 1.0, "promoted", "passed", "onnx", 3, 2), "1 of 3 predictions are not scikit-learn's"),
        (Outcome(FOREST, 1.0, "promoted", "passed", "onnx"), "no prediction was compared"),
    ],
)
def test_problem_of_an_outcome_is_named(outcome: Outcome, problem: str) -> None:
    assert outcome.problem == problem


@pytest.mark.parametrize(
    ("prediction", "probabilities", "expected"),
    [
        ("a", {"a": 0.7, "b": 0.3}, True),
        ("a", {"a": 0.700009, "b": 0.299991}, True),
        ("a", {"a": 0.70002, "b": 0.29998}, False),
        ("b", {"a": 0.7, "b": 0.3}, False),
    ],
)
def test_class_is_equal_with_its_probabilities(
    prediction: str, probabilities: dict[str, float], *, expected: bool
) -> None:
    reference = Reference("1", "promoted", "passed", [], labels=["a"], probabilities=[{"a": 0.7, "b": 0.3}])
    assert is_equal({"prediction": prediction, "probabilities": probabilities}, reference, 0) == expected


@pytest.mark.parametrize("prediction", ["a", "b"])
def test_either_of_two_classes_that_are_the_most_probable_ones_is_equal(prediction: str) -> None:
    shares = {"a": 0.5, "b": 0.5}
    reference = Reference("1", "promoted", "passed", [], labels=["a"], probabilities=[shares])
    assert is_equal({"prediction": prediction, "probabilities": shares}, reference, 0)


@pytest.mark.parametrize(("prediction", "expected"), [(1e6, True), (1e6 + 90, True), (1e6 - 110, False)])
def test_number_is_equal_within_its_tolerance(prediction: float, *, expected: bool) -> None:
    reference = Reference("1", "promoted", "passed", [], values=[0.0, 1e6])
    assert is_equal({"prediction": prediction}, reference, 1) == expected


def test_report_has_a_line_for_each_outcome_and_names_problems() -> None:
    lines = report("measured like this", [SERVED, ON_PYFUNC]).splitlines()
    assert lines[2] == "measured like this"
    assert ALL_HOLD in lines
    assert lines[-2:] == [
        "| random_forest | iris | 20 | promoted | passed | onnx | 1,490 | 1,490 |",
        f"| {OWN_CLASSIFIER} | churn | 31 | promoted | no conversion to ONNX | pyfunc | 4,000 | 4,000 |",
    ]
    text = report("measured like this", [SERVED, Outcome(FOREST, 1.0, "rejected: worse")])
    assert "**Not as promised:** random_forest on iris: not promoted: rejected: worse." in text
    assert ALL_HOLD not in text


def test_published_report_is_of_a_whole_run_and_keeps_its_promises() -> None:
    text = PUBLISHED.read_text(encoding="utf-8")
    assert text.splitlines()[2].startswith("`make measure-estimators`, commit ")
    assert ALL_HOLD in text
    measured = [tuple(line.split(" | ")[:2]) for line in text.splitlines() if line.endswith(" |")][2:]
    assert measured == [(f"| {case.estimator}", case.table) for case in cases()]


def test_unknown_estimator_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--estimator", "random_forests", "--report", str(tmp_path / "report.md")])
    assert "random_forests" in capsys.readouterr().err
