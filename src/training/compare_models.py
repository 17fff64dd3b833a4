"""Scores challenger and champion side by side."""

import logging
from collections.abc import Mapping

import pandas as pd

from src.core.errors import InvalidModelError, OtherSchemaError
from src.core.feature_schema import FeatureSchema
from src.core.model_registry import CHAMPION
from src.core.pipeline_config import PipelineConfig
from src.training.answers import Answers
from src.training.evaluate_model import Evaluation, Material, answers_of, judge
from src.training.gate import Comparison
from src.training.registry import FetchedModel, ModelRegistry
from src.training.scoring import Metric, metrics_of
from src.training.splitting import SplitRule, clusters

logger = logging.getLogger(__name__)


def compare(  # noqa: PLR0913, PLR0917 - two models, two parts of the data, and how they are judged
    registry: ModelRegistry,
    challenger: str,
    train: pd.DataFrame,
    holdout: pd.DataFrame,
    config: PipelineConfig,
    rule: SplitRule,
    own_metrics: Mapping[str, Metric],
) -> tuple[Evaluation, Comparison]:
    """Score a new version and the champion on the same holdout, both as serving would load them from the registry.

    Args:
        registry: holds both.
        challenger: the new version.
        train: the training rows, from which constant answers are learned.
        holdout: feature columns and the target.
        config: names target, metrics and gate.
        rule: by what the holdout was held out.
        own_metrics: the adopter's, by name.

    Raises:
        InvalidModelError: the challenger cannot be scored; a champion that is broken does not stand in its way.
    """
    target = config.dataset.target
    model = registry.fetch(challenger)
    material = Material(
        config, metrics_of(config, own_metrics), train[target].to_numpy(), holdout, clusters(rule, holdout)
    )
    ours = answers_of(model, holdout, target)
    champion = registry.version_of(CHAMPION)
    if champion is None:
        return judge(ours, {}, material)
    rivals: dict[str, Answers] = {}
    problem: str | None = None
    breaking: tuple[str, ...] = ()
    try:
        served = registry.fetch(str(champion.version))
        require_same_columns(served, model.schema)
        rivals["champion"] = answers_of(served, holdout, target)
    except OtherSchemaError as error:
        problem, breaking = str(error), (str(error),)
    except InvalidModelError as error:
        problem = str(error)
    if problem is not None:
        logger.warning("the champion cannot be scored: %s", problem)
    evaluation, comparison = judge(ours, rivals, material)
    found = {"champion_version": str(champion.version), "champion_problem": problem, "breaking": breaking}
    return evaluation, comparison.model_copy(update=found)


def require_same_columns(served: FetchedModel, schema: FeatureSchema) -> None:
    """Require that whoever may call the served model may call one of this schema.

    Raises:
        OtherSchemaError: naming the columns that differ.
    """
    columns = {column.name: column for column in schema.columns}
    differing = [
        f"{name} ({column.type}{'' if column.required else ', may be missing'})"
        for name, column in ((column.name, column) for column in served.schema.columns)
        if name in columns and (columns[name].type != column.type or columns[name].required > column.required)
    ]
    if differing:
        raise OtherSchemaError(f"version {served.version} takes other values: {', '.join(differing)}")
