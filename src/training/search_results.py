"""What a search for parameters leaves in MLflow: a table of the candidates, and a picture of their scores."""

import mlflow
import pandas as pd
from matplotlib.figure import Figure

TABLE_FILE = "search.json"
PICTURE_FILE = "search.png"
MAX_SHOWN = 30


def log_search(table: pd.DataFrame) -> None:
    """Record a search in the active run.

    Args:
        table: as ``search`` returns it, the best candidate first.
    """
    params = [name for name in table.columns if name not in {"score", "deviation", "rows"}]
    shown = table.astype(dict.fromkeys(params, str))
    mlflow.log_table(shown, TABLE_FILE)
    mlflow.log_figure(draw_search(shown, params), PICTURE_FILE)


def draw_search(table: pd.DataFrame, params: list[str]) -> Figure:
    """The best candidates' scores, with the deviation between folds."""
    best = table.head(MAX_SHOWN)[::-1]
    names = [", ".join(f"{name} {row[name]}" for name in params) for _, row in best.iterrows()]
    figure = Figure(figsize=(8, 1.2 + 0.3 * len(best)), layout="constrained")
    axes = figure.subplots()
    axes.errorbar(best["score"], range(len(best)), xerr=best["deviation"], fmt="o", capsize=3)
    axes.set_yticks(range(len(best)), names)
    axes.set_xlabel("score on rows that the candidate was not fitted on")
    return figure
