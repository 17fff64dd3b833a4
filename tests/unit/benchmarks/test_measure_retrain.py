from benchmarks.loop import step_seconds
from benchmarks.measure_retrain import Retrain, report


def test_report_gives_the_median_the_range_and_the_steps() -> None:
    found = [Retrain(served, {"imports": served / 2, "total": served - 1}) for served in (12.0, 10.0, 17.0)]
    text = report("measured so", found)
    assert "measured so\n\nIris, 3 requests: 12.0 s in the median (10.0 to 17.0) from" in text
    assert "| imports | 6.0 |\n| total | 11.0 |\n" in text


def test_seconds_are_those_of_the_last_training_in_a_log() -> None:
    lines = ["a | seconds: imports 1.5, train.fit 2", "b", "a | seconds: imports 2.5, total 11.0"]
    assert step_seconds(lines) == {"imports": 2.5, "total": 11.0}
    assert step_seconds(lines[:2]) == {"imports": 1.5, "train.fit": 2.0}
    assert step_seconds(["b"]) == {}
