import numpy as np

from src.quality.advantages import class_advantages, number_advantages

LOST, EVEN, WON = -1.0, 0.0, 1.0


def test_a_class_counts_where_only_one_version_is_right() -> None:
    truth = np.array(["a", "a", "b", "b"])
    new = np.array(["a", "a", "a", "a"])
    previous = np.array(["a", "b", "b", "c"])
    assert class_advantages(truth, new, previous).tolist() == [EVEN, WON, LOST, EVEN]


def test_a_number_counts_by_its_relative_error() -> None:
    truth = np.array([10.0, 10.0, 10.0, 10.0])
    new = np.array([11.0, 7.0, 10.0, 10.0])
    previous = np.array([13.0, 9.0, 10.0, 12.0])
    assert number_advantages(truth, new, previous).tolist() == [0.5, -0.5, 0.0, 1.0]
