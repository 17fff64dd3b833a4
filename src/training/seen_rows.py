"""Which holdout rows an earlier version was not trained on, as far as that can be found out."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from src.core.dataset_config import DatasetConfig
from src.core.errors import InvalidModelError
from src.core.model_registry import CHAMPION, TAG_CODE_SHA256, TAG_DATA_SHA256, TAG_ZENML_RUN_ID
from src.training.registry import FetchedModel, ModelRegistry
from src.training.row_keys import days, row_hashes
from src.training.splitting import Split, SplitRule, held_out, sha256_of, share_gone

MILLISECONDS_PER_DAY = 86_400_000
# How far a row's time may lie after its arrival: local times may be read as UTC, and dates as their last moment.
AHEAD_DAYS = 1.0
# Rows leave a data set now and then; where more than this share of them is gone, their content was changed.
MAX_GONE = 0.25
UNKNOWN = (
    "its training rows are unknown: it records no split rule that applies here, ZenML no longer has them, the data set "
    "has changed since, and no dataset.time tells which rows are newer"
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unseen:
    """Which rows of the holdout a version was not trained on.

    ``mask`` is (n,), or None where nothing is known; ``why`` says how they were found, or why not.
    """

    mask: NDArray[np.bool_] | None
    why: str


def inherited_rule(registry: ModelRegistry) -> SplitRule | None:
    """The champion's split rule; None without a champion, or where it has none that can be read."""
    champion = registry.version_of(CHAMPION)
    if champion is None:
        return None
    try:
        return registry.split_rule(str(champion.version))
    except InvalidModelError as error:
        logger.warning("the champion's split rule cannot be read: %s", error)
        return None


def unseen_rows(
    registry: ModelRegistry, model: FetchedModel, split: Split, dataset: DatasetConfig, challenger: str
) -> Unseen:
    """Find the holdout rows that a version was not trained on.

    By the split rule that the version records, unless rows had other keys then: without an id, a row's key is its
    content, which another ``clean()`` or another section ``dataset`` may write in another way.

    For a version without a rule (registered before rules were recorded, or whose key columns are gone), by leaving out
    rows with the content of its training rows: those that ZenML has stored or, on an unchanged data set, those of the
    stratified split that such versions were made with.

    Where its training rows cannot be found, by time: the rows that are more than a day newer than the version, unless
    some row's time lies in the future, as a due date does, and so tells nothing of when a row arrived.

    Args:
        registry: holds the version.
        model: the version.
        split: the challenger's data set and split.
        dataset: what its columns are.
        challenger: the version that was made from ``split``; its tags name the data set.
    """
    version, newest, rule = registry.version(model.version), registry.version(challenger), model.split_rule
    if rule is not None and rule.fits(split.holdout):
        changed = _changed_keys(rule, version, newest, split.frame, dataset)
        if changed is None:
            return Unseen(held_out(rule, split.holdout), "both models' split rules hold them out")
        # Stored rows have the keys of before, too.
        return _newer_rows(version, newest, split, dataset) or Unseen(None, changed)
    columns = [*model.schema.names, dataset.target]
    stored = training_rows_of(version.tags.get(TAG_ZENML_RUN_ID))
    if stored is not None and set(columns) <= {*stored.columns} & {*split.holdout.columns}:
        why = f"the training rows of version {model.version}, as ZenML has them, are left out"
        return Unseen(_other_content(split.holdout, stored, columns), why)
    same_data = version.tags.get(TAG_DATA_SHA256, "unknown") == newest.tags.get(TAG_DATA_SHA256)
    rebuilt = random_training_rows(split.frame, dataset, registry.parameters(version)) if same_data else None
    if rebuilt is not None:
        why = f"the training rows of version {model.version}, from its split made again, are left out"
        return Unseen(_other_content(split.holdout, rebuilt, [*dataset.features, dataset.target]), why)
    return _newer_rows(version, newest, split, dataset) or Unseen(None, UNKNOWN)


def _changed_keys(
    rule: SplitRule, version: ModelVersion, newest: ModelVersion, frame: pd.DataFrame, dataset: DatasetConfig
) -> str | None:
    """Why a version's rule says nothing of rows of today, if it does not."""
    if rule.columns == dataset.id:
        return None
    code = version.tags.get(TAG_CODE_SHA256)
    same_code = code is not None and code == newest.tags.get(TAG_CODE_SHA256)
    gone = share_gone(rule, frame)
    if gone <= MAX_GONE or (same_code and rule.dataset_sha256 == sha256_of(dataset)):
        return None
    return (
        f"its training rows are unknown: src/pipeline or the section dataset was changed since, and {gone:.0%} of its "
        "rows are not found by their content any more; a dataset.id would identify them"
    )


def _newer_rows(version: ModelVersion, newest: ModelVersion, split: Split, dataset: DatasetConfig) -> Unseen | None:
    """The rows that are newer than a version, if the data set's time can be relied on."""
    if dataset.time is None:
        return None
    created, now = (found.creation_timestamp / MILLISECONDS_PER_DAY for found in (version, newest))
    # A time column may hold other numbers than days; those of a data set end when its model is registered.
    if not days(split.frame[dataset.time]).max() <= now + AHEAD_DAYS:
        return None
    newer = days(split.holdout[dataset.time]) > created + AHEAD_DAYS
    return Unseen(newer, f"they are over a day newer than version {version.version}, whose training rows are unknown")


def training_rows_of(run_id: str | None) -> pd.DataFrame | None:
    """The training rows that a ZenML run has stored; None where ZenML no longer has them."""
    if run_id is None:
        return None
    from zenml.client import Client  # noqa: PLC0415 - reads the environment when it is imported

    try:
        rows = Client().get_pipeline_run(UUID(run_id)).steps["split"].outputs["train"][0].load()
    except Exception as error:  # ZenML raises built-in errors of every kind
        logger.info("ZenML does not have the training rows of run %s: %s", run_id, error)
        logger.debug("where it came from", exc_info=error)
        return None
    return rows if isinstance(rows, pd.DataFrame) else None


def random_training_rows(
    frame: pd.DataFrame, dataset: DatasetConfig, parameters: Mapping[str, Any]
) -> pd.DataFrame | None:
    """The training rows as versions without a split rule drew them, by their run's parameters.

    None where the run has no such parameters, or those of another split.
    """
    if "split.by" in parameters:
        return None
    try:
        share, seed = float(parameters["split.holdout_fraction"]), int(parameters["split.seed"])
    except (KeyError, ValueError):
        return None
    classes = frame[dataset.target] if dataset.task == "classification" else None
    train: pd.DataFrame = train_test_split(frame, test_size=share, random_state=seed, stratify=classes)[0]
    return train


def _other_content(holdout: pd.DataFrame, seen: pd.DataFrame, columns: list[str]) -> NDArray[np.bool_]:
    return ~np.isin(row_hashes(holdout, columns, 0), row_hashes(seen, columns, 0))
