"""Scores challenger and champion side by side."""

import logging

import pandas as pd

from src.core.errors import InvalidModelError, OtherSchemaError
from src.core.feature_schema import FeatureSchema
from src.core.model_registry import CHAMPION
from src.training.evaluate_model import Evaluation, evaluate, score
from src.training.gate import Comparison
from src.training.registry import FetchedModel, ModelRegistry

logger = logging.getLogger(__name__)


def compare(
    registry: ModelRegistry, challenger: str, holdout: pd.DataFrame, target: str
) -> tuple[Evaluation, Comparison]:
    """Score a new version and the champion on the same holdout, both as serving would load them from the registry.

    Args:
        registry: holds both.
        challenger: the new version.
        holdout: feature columns and the target.
        target: the target's name.

    Raises:
        InvalidModelError: the challenger cannot be scored; a champion that is broken does not stand in its way.
    """
    model = registry.fetch(challenger)
    evaluation = evaluate(model, holdout, target)
    champion = registry.version_of(CHAMPION)
    if champion is None:
        return evaluation, Comparison(challenger=evaluation.scores)
    scores, problem, differs = None, None, False
    try:
        served = registry.fetch(str(champion.version))
        require_same_columns(served, model.schema)
        scores = score(served, holdout, target)
    except InvalidModelError as error:
        problem, differs = str(error), isinstance(error, OtherSchemaError)
        logger.warning("the champion cannot be scored: %s", problem)
    return evaluation, Comparison(
        challenger=evaluation.scores,
        champion=scores,
        champion_version=str(champion.version),
        champion_problem=problem,
        champion_differs=differs,
    )


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
