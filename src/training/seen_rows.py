"""Finds the holdout rows that an earlier version was not trained on."""

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
from src.core.model_registry import CHAMPION, TAG_DATA_SHA256, TAG_ZENML_RUN_ID
from src.training.registry import FetchedModel, ModelRegistry
from src.training.row_keys import days, row_hashes
from src.training.splitting import Split, SplitRule, held_out, share_changed

MILLISECONDS_PER_DAY = 86_400_000
# How far a row's time may lie after its arrival: local times may be read as UTC, and dates as the end of the day.
AHEAD_DAYS = 1.0
# Single rows are corrected; where a larger share may have other keys, the rule says nothing about the current rows.
MAX_CHANGED = 0.25
UNKNOWN = (
    "its training rows are unknown: it records no split rule that applies here, ZenML no longer has them, the data set "
    "has changed since, and without dataset.time newer rows cannot be identified"
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unseen:
    """Which rows of the holdout a version was not trained on.

    ``mask`` is (n,), or None where they are unknown; ``why`` says how they were found, or why not.
    """

    mask: NDArray[np.bool_] | None
    why: str


def inherited_rule(registry: ModelRegistry) -> SplitRule | None:
    """The champion's split rule; None without a champion, or without a readable rule."""
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

    Uses the split rule that the version records, unless the rows' keys have changed: without an id, a row's key is its
    content, which ``clean()``, the section ``dataset`` or the source may change, such as a query that computes an age.

    For a version without a rule (registered before rules were recorded, or whose key columns are gone), excludes rows
    with the content of its training rows: those stored in ZenML or, on an unchanged data set, those of the stratified
    split by which such versions were trained.

    Where its training rows cannot be found, uses the time: rows that are more than a day newer than the version, unless
    some row's time lies in the future, like a due date, and thus is not the time when a row arrived.

    Args:
        registry: holds the version.
        model: the version.
        split: the challenger's data set and split.
        dataset: its columns.
        challenger: the version that was trained on ``split``; its tags name the data set.
    """
    version, newest, rule = registry.version(model.version), registry.version(challenger), model.split_rule
    if rule is not None and rule.fits(split.holdout):
        changed = _changed_keys(rule, split.frame, dataset)
        if changed is None:
            return Unseen(held_out(rule, split.holdout), "both models' split rules hold them out")
        # Stored rows have the former keys, too.
        return _newer_rows(version, newest, split, dataset) or Unseen(None, changed)
    columns = [*model.schema.names, dataset.target]
    stored = training_rows_of(version.tags.get(TAG_ZENML_RUN_ID))
    if stored is not None and set(columns) <= {*stored.columns} & {*split.holdout.columns}:
        why = f"the training rows of version {model.version}, as stored in ZenML, are left out"
        return Unseen(_other_content(split.holdout, stored, columns), why)
    same_data = version.tags.get(TAG_DATA_SHA256, "unknown") == newest.tags.get(TAG_DATA_SHA256)
    rebuilt = random_training_rows(split.frame, dataset, registry.parameters(version)) if same_data else None
    if rebuilt is not None:
        why = f"the training rows of version {model.version}, from its repeated split, are left out"
        return Unseen(_other_content(split.holdout, rebuilt, [*dataset.features, dataset.target]), why)
    return _newer_rows(version, newest, split, dataset) or Unseen(None, UNKNOWN)


def _changed_keys(rule: SplitRule, frame: pd.DataFrame, dataset: DatasetConfig) -> str | None:
    """Why a version's rule cannot be applied to the current rows; None where it can."""
    if rule.columns == dataset.id:
        return None
    changed = share_changed(rule, frame)
    if changed <= MAX_CHANGED:
        return None
    return (
        f"its training rows are unknown: {changed:.0%} of its rows are no longer found by their content, and as many "
        "others have appeared, which may be the same rows with other values; name an id column in dataset.id and set "
        "split.inherit: false"
    )


def _newer_rows(version: ModelVersion, newest: ModelVersion, split: Split, dataset: DatasetConfig) -> Unseen | None:
    """The rows that are newer than a version, if the data set's time is the time of arrival."""
    if dataset.time is None:
        return None
    created, now = (found.creation_timestamp / MILLISECONDS_PER_DAY for found in (version, newest))
    # Later times than the registration are not times of arrival, or not in days.
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
    """The training rows of a version without a split rule, drawn again with its run's parameters.

    None where the run lacks these parameters, or used another split.
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
