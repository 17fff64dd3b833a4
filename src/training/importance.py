"""Which columns a model relies on: what its score loses when one of them is shuffled."""

import logging
from collections.abc import Mapping

import numpy as np
import pandas as pd

from src.core.pipeline_config import PipelineConfig
from src.training.evaluate_model import answers_of
from src.training.mlflow_run import log_importance
from src.training.registry import FetchedModel, ModelRegistry
from src.training.scoring import Metric, metrics_of

SEED = 0
SHUFFLES = 5
MAX_ROWS = 2000
# Rows that are answered in all, whatever the number of columns; each column keeps MIN_ROWS.
MAX_ANSWERS = 200_000
MIN_ROWS = 50

logger = logging.getLogger(__name__)


def rank_columns(
    registry: ModelRegistry, version: str, holdout: pd.DataFrame, config: PipelineConfig, own: Mapping[str, Metric]
) -> None:
    """Record the importance of a registered version's columns in the active run.

    A failure is logged only: the verdict has been carried out by then.
    """
    try:
        metric = metrics_of(config, own)[config.gate.metric]
        classes = tuple(sorted(config.dataset.classes or ()))
        found = permutation_importance(registry.fetch(version), holdout, config.dataset.target, classes, metric)
        log_importance(found, metric.name)
    except Exception as error:  # the model, the metric, the server and the disk fail in ways of their own
        logger.warning("the importance of the columns was not recorded: %s", error, exc_info=True)


def permutation_importance(
    model: FetchedModel, rows: pd.DataFrame, target: str, classes: tuple[str, ...], metric: Metric
) -> dict[str, float]:
    """The score lost when a column is shuffled, by column: the mean of 5 shuffles (Breiman 2001, Random Forests).

    At most 2,000 rows count, and fewer for many columns, so that no more than about 200,000 rows are answered.

    Args:
        model: as serving loads it.
        rows: the holdout: the model's columns and the target.
        target: the target's name.
        classes: the data set's, sorted; empty for a regression.
        metric: the score; of one of which less is better, the increase counts.

    Raises:
        InvalidModelError: the model cannot answer the rows.
    """
    random = np.random.default_rng(SEED)
    names = model.schema.names
    count = min(len(rows), MAX_ROWS, max(MIN_ROWS, MAX_ANSWERS // (SHUFFLES * len(names))))
    sample = rows.iloc[random.permutation(len(rows))[:count]].reset_index(drop=True)

    def score(frame: pd.DataFrame) -> list[float]:
        answers = answers_of(model, frame, target).among(classes)
        parts = np.arange(len(frame)).reshape(-1, count)
        return [metric.sign * metric.of(answers.take(part)) for part in parts]

    (whole,) = score(sample)
    losses = {}
    for name in names:
        column = sample[name].to_numpy()
        shuffled = [sample.assign(**{name: random.permutation(column)}) for _ in range(SHUFFLES)]
        losses[name] = whole - float(np.mean(score(pd.concat(shuffled, ignore_index=True))))
    return losses
