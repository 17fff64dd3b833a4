import numpy as np
import pytest

from src.training.answers import Answers

TRUTH = np.array(["a", "b", "c"])
ANSWERS = Answers("3", ("a", "c"), TRUTH, np.array(["a", "c", "c"]), np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]))


def test_take_counts_each_row_as_often_as_it_is_named() -> None:
    found = ANSWERS.take(np.array([2, 0, 2]))
    assert (found.truth.tolist(), found.values.tolist(), len(found)) == (["c", "a", "c"], ["c", "a", "c"], 3)
    assert found.probabilities is not None
    assert found.probabilities.tolist() == [[0.2, 0.8], [0.9, 0.1], [0.2, 0.8]]
    assert ANSWERS.take(TRUTH == "b").values.tolist() == ["c"]


def test_among_gives_unknown_classes_no_probability_and_shares_out_what_is_left_of_dropped_ones() -> None:
    assert ANSWERS.among(("a", "c")) is ANSWERS
    wider = ANSWERS.among(("a", "b", "c"))
    assert wider.probabilities is not None
    assert wider.probabilities.tolist() == [[0.9, 0, 0.1], [0.4, 0, 0.6], [0.2, 0, 0.8]]
    other = ANSWERS.among(("b", "c"))
    assert other.probabilities is not None
    assert other.probabilities.tolist() == [[0, 1], [0, 1], [0, 1]]
    none = ANSWERS.among(("x", "y"))
    assert none.probabilities is not None
    assert none.probabilities.tolist() == [[0.5, 0.5]] * 3
    assert none.classes == ("x", "y")


def test_followed_by_puts_one_model_s_answers_behind_another_s() -> None:
    both = ANSWERS.followed_by(ANSWERS.take(np.array([1])))
    assert both.truth.tolist() == ["a", "b", "c", "b"]
    assert both.values.tolist() == ["a", "c", "c", "c"]
    assert both.probabilities is not None
    assert both.probabilities[3] == pytest.approx([0.4, 0.6])
    numbers = Answers("3", (), np.array([1.0]), np.array([2.0]))
    assert numbers.followed_by(numbers).probabilities is None
