"""Permutation importance: the score lost when a column is shuffled."""

import logging
from collections.abc import Mapping

import numpy as np
import pandas as pd

from src.core.feature_table import FeatureTable
from src.core.pipeline_config import PipelineConfig
from src.training.evaluate_model import answers_of, answers_to
from src.training.frames import table_of
from src.training.mlflow_run import log_importance
from src.training.registry import FetchedModel, ModelRegistry
from src.training.scoring import Metric, metrics_of

SEED = 0
SHUFFLES = 5
MAX_ROWS = 2000
# The most predictions over all columns; each column has at least MIN_ROWS rows.
MAX_ANSWERS = 200_000
MIN_ROWS = 50

logger = logging.getLogger(__name__)


def rank_columns(
    registry: ModelRegistry, version: str, holdout: pd.DataFrame, config: PipelineConfig, own: Mapping[str, Metric]
) -> None:
    """Log the importance of a registered version's columns to the active run.

    Failures are only logged, as the verdict is in effect by then.
    """
    try:
        metric = metrics_of(config, own)[config.gate.metric]
        classes = tuple(sorted(config.dataset.classes or ()))
        found = permutation_importance(registry.fetch(version), holdout, config.dataset.target, classes, metric)
        log_importance(found, metric.name)
    except Exception as error:  # from the model, the metric, the server or the disk
        logger.warning("the feature importance was not recorded: %s", error, exc_info=True)


def permutation_importance(
    model: FetchedModel, rows: pd.DataFrame, target: str, classes: tuple[str, ...], metric: Metric
) -> dict[str, float]:
    """The score lost when a column is shuffled, by column: the mean of 5 shuffles (Breiman 2001, Random Forests).

    Uses at most 2,000 rows, and fewer for many columns, to make at most about 200,000 predictions.

    Args:
        model: as serving loads it.
        rows: the holdout: the model's columns and the target.
        target: the target's name.
        classes: the data set's, sorted; empty for a regression.
        metric: the score; where lower is better, the increase.

    Raises:
        InvalidModelError: the model fails on the rows.
    """
    random = np.random.default_rng(SEED)
    names = model.schema.names
    count = min(len(rows), MAX_ROWS, max(MIN_ROWS, MAX_ANSWERS // (SHUFFLES * len(names))))
    sample = rows.iloc[random.permutation(len(rows))[:count]]
    whole = answers_of(model, sample, target)
    truth = np.tile(whole.truth, SHUFFLES)
    columns = [np.tile(column, SHUFFLES) for column in table_of(sample, model.schema).columns]
    score = metric.of(whole.among(classes))
    losses = {}
    for place, name in enumerate(names):
        shuffled = np.concatenate([random.permutation(columns[place][:count]) for _ in range(SHUFFLES)])
        table = FeatureTable.from_columns(model.schema, [*columns[:place], shuffled, *columns[place + 1 :]])
        answers = answers_to(model, table, truth).among(classes)
        parts = np.arange(len(truth)).reshape(SHUFFLES, count)
        losses[name] = metric.sign * (score - float(np.mean([metric.of(answers.take(part)) for part in parts])))
    return losses
