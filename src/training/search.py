"""Searches the estimator's parameters by cross-validation on the training rows, scored by the gate's metric."""

import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - makes the next import possible
from sklearn.model_selection import HalvingRandomSearchCV, RandomizedSearchCV
from sklearn.pipeline import Pipeline

from src.core.model_config import SearchConfig
from src.training.folds import Fold
from src.training.scoring import Metric

SEED = 0
# Successive halving: each round keeps a third of the candidates and fits them on three times as many rows.
FACTOR = 3

logger = logging.getLogger(__name__)


class FoldScore:
    """Scores a candidate on the validation rows of a fold; higher is better.

    Args:
        metric: the gate's.
        folds: per candidate.
        candidates: how many there are in all.
        report: is called after each candidate.
        counts: (n,) how often each row counts, by the row's number in the frame's index; None for once.
    """

    def __init__(
        self,
        metric: Metric,
        folds: int,
        candidates: int,
        report: Callable[[str], None],
        counts: NDArray[np.float64] | None = None,
    ) -> None:
        self._metric = metric
        self._folds = folds
        self._candidates = candidates
        self._report = report
        self._counts = counts
        self._calls = 0

    def __call__(self, model: Any, rows: pd.DataFrame, target: NDArray[Any]) -> float:
        """Score a fitted model."""
        classes = is_classifier(model)
        truth, answers = (values.astype(str) if classes else values for values in (target, model.predict(rows)))
        probabilities = model.predict_proba(rows) if classes else None
        self._calls += 1
        if self._calls % self._folds == 0:
            line = f"search: {self._calls // self._folds} of {self._candidates} candidates scored"
            logger.info("%s", line)
            self._report(line)
        counts = np.ones(len(truth)) if self._counts is None else self._counts[rows.index]
        return self._metric.sign * float(self._metric.function(truth, answers, probabilities, counts))


def candidates_of(config: SearchConfig) -> int:
    """How many candidates a search scores; halving counts a candidate once per round, and may have fewer rounds."""
    trials, rounds = _trials(config), 1
    while config.method == "halving" and FACTOR**rounds <= trials:
        rounds += 1
    return sum(math.ceil(trials / FACTOR**earlier) for earlier in range(rounds))


def search(  # noqa: PLR0913, PLR0917 - what a search depends on
    model: Pipeline,
    rows: pd.DataFrame,
    target: NDArray[Any],
    given: dict[str, Any],
    config: SearchConfig,
    folds: list[Fold],
    score: FoldScore,
) -> tuple[Pipeline, pd.DataFrame]:
    """The unfitted model with the best parameters, and the table of candidates, the best first.

    Random search: Bergstra and Bengio, "Random search for hyper-parameter optimization", JMLR 2012. Successive halving:
    Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", AISTATS 2016.

    Args:
        model: not fitted.
        rows: (n, features).
        target: (n,).
        given: further arguments of ``fit``, such as sample weights.
        config: the method and the values to try.
        folds: positions of rows.
        score: scores each candidate.

    Returns:
        The model, and a table with a column for each parameter, ``score``, its standard ``deviation`` between folds,
        and ``rows``, the number of rows used for the candidate.
    """
    prefix = _prefix(model)
    values = {f"{prefix}{name}": choices for name, choices in config.params.items()}
    trials = _trials(config)
    options: dict[str, Any] = {
        "scoring": score,
        "cv": folds,
        "refit": False,
        "random_state": SEED,
        "error_score": "raise",
        "return_train_score": False,
    }
    if config.method == "halving":
        runner = HalvingRandomSearchCV(
            model, values, n_candidates=trials, factor=FACTOR, min_resources="exhaust", **options
        )
    else:
        runner = RandomizedSearchCV(model, values, n_iter=trials, **options)
    runner.fit(rows, target, **given)
    found = runner.cv_results_
    table = pd.DataFrame(
        {name: [tried[f"{prefix}{name}"] for tried in found["params"]] for name in config.params}
        | {"score": found["mean_test_score"], "deviation": found["std_test_score"]}
    )
    table["rows"] = found.get("n_resources", np.full(len(table), len(rows)))
    best = {name.removeprefix(prefix): value for name, value in runner.best_params_.items()}
    logger.info("search: %s is best of %d candidates", best, trials)
    table = table.sort_values(["rows", "score"], ascending=False, kind="stable", ignore_index=True)
    return model.set_params(**runner.best_params_), table


def _trials(config: SearchConfig) -> int:
    return min(config.trials, math.prod(len(choices) for choices in config.params.values()))


def _prefix(model: Pipeline) -> str:
    """The prefix of the estimator's own parameters in the pipeline."""
    last, step = model[-1], model.steps[-1][0]
    if isinstance(last, VotingClassifier):
        return f"{step}__{last.estimators[0][0]}__"
    return f"{step}__regressor__" if isinstance(last, TransformedTargetRegressor) else f"{step}__"
