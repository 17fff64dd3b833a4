"""Decides by the fingerprints of earlier versions whether a training could learn anything new; needs no ZenML."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from src.core.dataset_config import DatasetConfig
from src.core.errors import ConnectionFailedError
from src.core.model_registry import CHAMPION, TAG_FINGERPRINT, TAG_ROLLBACK_AT, TAG_VERDICT
from src.core.pipeline_config import PipelineConfig
from src.core.retrain_record import Outcome
from src.core.training_settings import TrainSettings
from src.training.connections import find_versions, has_alias, probe_mlflow, wait_until_answering
from src.training.fingerprint import fingerprint_of

logger = logging.getLogger(__name__)


def nothing_new(
    hash_data: Callable[[TrainSettings, DatasetConfig], str],
    code: Path,
    settings: TrainSettings,
    config: PipelineConfig,
) -> str | None:
    """The reason not to train, if an earlier version was trained on the same data with the same settings and code.

    Args:
        hash_data: loads and validates the data set and returns its SHA-256; raises DataError.
        code: the folder of the adopter's code.
        settings: the MLflow server and the model's name.
        config: what is learned.

    Raises:
        ConnectionFailedError: MLflow does not answer.
        DataError, ConfigError: the data set, or what the fingerprint needs, cannot be read.
    """
    wait_until_answering(lambda: probe_mlflow(settings.mlflow_url), seconds=settings.server_patience_seconds)
    fingerprint = fingerprint_of(hash_data(settings, config.dataset), config, code)
    try:
        if not has_alias(settings.mlflow_url, settings.model_name, CHAMPION):
            return None
        versions = find_versions(settings.mlflow_url, settings.model_name, TAG_FINGERPRINT, fingerprint)
    except ConnectionFailedError as error:
        logger.info("training: cannot find out whether the data or settings have changed: %s", error)
        return None
    return _reason(versions)


def _reason(versions: Sequence[Mapping[str, Any]]) -> str | None:
    """The reason, with the newest version that has a verdict; an interrupted run is not a reason to skip."""
    judged = [found for found in versions if TAG_VERDICT in found["tags"]]
    if not judged:
        return None
    newest = max(judged, key=lambda found: int(found["version"]))
    verdict = "rolled back" if TAG_ROLLBACK_AT in newest["tags"] else newest["tags"][TAG_VERDICT]
    if verdict == Outcome.PASSED:
        verdict = "passed the gate, GET /rollouts says whether it still awaits approval"
    trained = datetime.fromtimestamp(int(newest["creation_timestamp"]) / 1000, UTC)
    return (
        f"nothing new to learn from since version {newest['version']} ({verdict}, trained {trained:%Y-%m-%d %H:%M} "
        "UTC): same data, settings, code and packages"
    )
