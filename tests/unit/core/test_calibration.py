"""Calibrated probabilities, and the file of a version's calibration."""

from pathlib import Path

import numpy as np
import pytest

from src.core.calibration import Calibration, calibrated, calibration_file, read_calibration, write_calibration
from src.core.errors import ConfigError

# The model's own probabilities.
SAME = (1.0, 1.0, 0.0, 0.0)


def test_curve_of_a_calibrated_model_changes_nothing_but_the_extremes() -> None:
    shares = np.array([[0.3, 0.7], [0.9, 0.1], [1.0, 0.0], [0.0, 1.0]])
    found = calibrated(shares, shares.argmax(axis=1), np.array([SAME]))
    assert found == pytest.approx(np.array([[0.3, 0.7], [0.9, 0.1], [0.999, 0.001], [0.001, 0.999]]))


def test_each_of_three_classes_has_a_curve_and_they_sum_to_one() -> None:
    shares = np.array([[0.5, 0.3, 0.2]])
    curves = np.array([SAME, SAME, (0.0, 0.0, 0.0, 0.0)])
    assert calibrated(shares, np.array([0]), curves) == pytest.approx(np.array([[0.5, 0.3, 0.5]]) / 1.3)


def test_predicted_class_has_a_term_of_its_own() -> None:
    shares = np.full((2, 2), 0.5)
    curves = np.array([(1.0, 1.0, 0.0, np.log(3))])
    assert calibrated(shares, np.array([0, 1]), curves)[:, 1] == pytest.approx([0.5, 0.75])


def test_rows_may_have_curves_of_their_own() -> None:
    shares = np.full((2, 2), 0.5)
    curves = np.array([[(1.0, 1.0, np.log(3), 0.0), SAME]])
    assert calibrated(shares, np.array([0, 0]), curves)[:, 1] == pytest.approx([0.75, 0.5])


def test_file_is_read_as_written_and_named_by_model_and_version(tmp_path: Path) -> None:
    path = calibration_file(tmp_path, "a/b", "3")
    assert path == tmp_path / "a%2Fb" / "3.json"
    assert read_calibration(path) is None
    calibration = Calibration(rows=600, classes=("a", "b"), scores={"accuracy": 0.9}, curves=[[SAME]])
    write_calibration(path, calibration)
    assert read_calibration(path) == calibration
    write_calibration(path, Calibration(rows=3, reason="few"))
    assert read_calibration(path) == Calibration(rows=3, reason="few")


def test_damaged_file_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "3.json"
    path.write_text("{")
    with pytest.raises(ConfigError, match=r"3\.json cannot be read \(it is damaged\); delete it, and train again"):
        read_calibration(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match=r"\(Is a directory\)"):
        read_calibration(path)
