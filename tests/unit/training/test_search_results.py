from typing import Any

import mlflow
import pandas as pd
import pytest

from src.training.search_results import draw_search, log_search

TABLE = pd.DataFrame(
    {
        "max_depth": [4, None],
        "criterion": ["gini", "entropy"],
        "score": [0.9, 0.7],
        "deviation": [0.01, 0.1],
        "rows": [9, 9],
    }
)


def test_picture_shows_the_best_on_top_with_its_deviation() -> None:
    (axes,) = draw_search(TABLE.astype({"max_depth": str}), ["max_depth", "criterion"]).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["max_depth nan, criterion entropy", "max_depth 4.0, criterion gini"]
    assert axes.lines[0].get_xdata().tolist() == [0.7, 0.9]


def test_picture_shows_no_more_than_thirty() -> None:
    many = pd.DataFrame({"c": [str(index) for index in range(50)], "score": range(50), "deviation": 0.0, "rows": 1})
    (axes,) = draw_search(many, ["c"]).axes
    assert len(axes.get_yticklabels()) == 30
    assert axes.get_yticklabels()[-1].get_text() == "c 0"


def test_table_and_picture_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: dict[str, Any] = {}
    monkeypatch.setattr(mlflow, "log_table", lambda table, file: logged.update({file: table}))
    monkeypatch.setattr(mlflow, "log_figure", lambda figure, file: logged.update({file: figure}))
    log_search(TABLE)
    assert set(logged) == {"search.json", "search.png"}
    assert logged["search.json"]["score"].tolist() == [0.9, 0.7]
    assert logged["search.json"]["criterion"].tolist() == ["gini", "entropy"]
    assert TABLE["max_depth"].iloc[0] == 4
