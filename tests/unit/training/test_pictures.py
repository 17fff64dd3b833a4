"""The numbers in the pictures."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.training import pictures
from src.training.answers import Answers
from src.training.comparison import Baseline, Comparison, Difference, SliceScore
from src.training.evaluate_model import Evaluation
from src.training.pictures import (
    draw,
    draw_confusion_matrix,
    draw_differences,
    draw_importance,
    draw_predictions,
    draw_search,
)

TRUTH = np.array(["a", "a", "b", "b"])
EVALUATION = Evaluation({}, Answers("5", ("a", "b"), TRUTH, np.array(["a", "b", "b", "b"]), np.eye(2)[[0, 1, 1, 1]]))
NUMBERS = Evaluation({}, Answers("5", (), np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 4.0])))

CANDIDATES = pd.DataFrame(
    {
        "max_depth": ["4", "None"],
        "criterion": ["gini", "entropy"],
        "score": [0.9, 0.7],
        "deviation": [0.01, 0.1],
        "rows": [9, 9],
    }
)


def difference(point: float, low: float | None = None) -> Difference:
    return Difference(point=point, low=point - 0.1 if low is None else low, high=point + 0.2, bound=point)


def part(value: str, ours: float | None, theirs: float | None = 0.9, *, worse: bool = False) -> SliceScore:
    return SliceScore(column="$region", value=value, rows=60, challenger=ours, champion=theirs, worse=worse)


COMPARISON = Comparison(
    challenger={"f1": 0.9},
    champion={"f1": 0.8},
    champion_version="3",
    champion_difference=difference(0.1),
    best={"f1": 0.85},
    best_version="2",
    best_difference=difference(0.05),
    baseline=Baseline(name="always 'a'", score=0.3, difference=difference(0.6)),
    slices=(part("north", 0.95), part("south", 0.5, worse=True), part("west", None)),
)


def test_confusion_matrix_has_the_counts_and_the_classes() -> None:
    axes = draw_confusion_matrix(EVALUATION).axes[0]
    assert [text.get_text() for text in axes.texts] == ["1", "1", "0", "2"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["a", "b"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]


def test_confusion_matrix_of_no_known_class_is_drawn(tmp_path: Path) -> None:
    answers = Answers("5", ("$a$", "$b"), np.array(["z"]), np.array(["$a$"]), np.array([[1.0, 0.0]]))
    figure = draw_confusion_matrix(Evaluation({}, answers))
    assert [text.get_text() for text in figure.axes[0].texts] == ["0"] * 4
    figure.savefig(tmp_path / "a.png")


def test_predictions_are_drawn_with_the_line_of_equality() -> None:
    axes = draw_predictions(NUMBERS).axes[0]
    assert axes.collections[0].get_offsets().tolist() == [[1, 1], [2, 3], [4, 4]]
    assert axes.lines[0].get_xydata().tolist() == [[1, 1], [4, 4]]


def test_importance_ranks_the_columns_and_names_the_metric() -> None:
    axes = draw_importance({"x": 0.1, "y": 0.5, "z": -0.1}, "f1").axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["z", "x", "y"]
    assert [bar.get_width() for bar in axes.patches] == [-0.1, 0.1, 0.5]
    assert axes.get_xlabel() == "f1 lost when the column is shuffled"


def test_differences_show_each_rival_s_interval_and_the_slices_worst_first(tmp_path: Path) -> None:
    figure = draw_differences(COMPARISON, "f1")
    assert figure is not None
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        "champion (version 3)",
        "best former champion (version 2)",
        "always 'a'",
        "$region = south (60 rows)",
        "$region = north (60 rows)",
    ]
    bars = [line.get_xdata() for line in axes.lines if line.get_marker() == "|"]
    assert bars == [pytest.approx([0.0, 0.3]), pytest.approx([-0.05, 0.25]), pytest.approx([0.5, 0.8])]
    points = {line.get_color(): line.get_xdata()[0] for line in axes.lines if line.get_marker() == "D"}
    assert points == {pictures.RED: pytest.approx(-0.4), pictures.BLUE: pytest.approx(0.05)}
    figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_differences_of_a_metric_of_which_less_is_better_show_the_greatest_first() -> None:
    found = draw_differences(COMPARISON.model_copy(update={"lower_is_better": ("f1",)}), "f1")
    assert found is not None
    assert [text.get_text() for text in found.axes[0].get_yticklabels()][3:] == [
        "$region = north (60 rows)",
        "$region = south (60 rows)",
    ]


def test_differences_show_no_more_slices_than_fit() -> None:
    slices = tuple(part(str(place), place / 100) for place in range(50))
    found = draw_differences(Comparison(challenger={"f1": 0.9}, slices=slices), "f1")
    assert found is not None
    names = [text.get_text() for text in found.axes[0].get_yticklabels()]
    assert names == [f"$region = {place} (60 rows)" for place in range(30)]


def test_differences_without_a_rival_or_without_an_end_are_not_drawn() -> None:
    assert draw_differences(Comparison(challenger={"f1": 0.9}), "f1") is None
    endless = Comparison(challenger={"f1": 0.9}, champion_difference=difference(0.1, low=-math.inf))
    assert draw_differences(endless, "f1") is None


def test_pictures_are_of_the_task_and_have_the_differences_where_there_are_any() -> None:
    bare = Comparison(challenger={"f1": 0.9})
    assert list(draw(EVALUATION, COMPARISON, "f1")) == ["confusion_matrix.png", "differences.png"]
    assert list(draw(EVALUATION, bare, "f1")) == ["confusion_matrix.png"]
    assert list(draw(NUMBERS, bare, "r2")) == ["predictions.png"]


def test_search_shows_the_best_candidate_on_top_with_its_deviation() -> None:
    (axes,) = draw_search(CANDIDATES, ["max_depth", "criterion"]).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["max_depth None, criterion entropy", "max_depth 4, criterion gini"]
    assert axes.lines[0].get_xdata().tolist() == [0.7, 0.9]


def test_search_shows_at_most_30_candidates() -> None:
    many = pd.DataFrame({"c": [str(index) for index in range(50)], "score": range(50), "deviation": 0.0, "rows": 1})
    (axes,) = draw_search(many, ["c"]).axes
    assert len(axes.get_yticklabels()) == 30
    assert axes.get_yticklabels()[-1].get_text() == "c 0"
