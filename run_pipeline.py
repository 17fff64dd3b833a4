"""Trains once. Exit code 0: promoted, rejected or skipped; 1: failed; 2: configuration or data wrong; 75: busy."""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from src.core.dataset_config import DatasetConfig
from src.core.errors import LoopError
from src.core.exit_codes import ExitCode
from src.core.log import configure_logging
from src.core.own_code import OWN_FOLDER
from src.core.settings import load_settings
from src.core.training_settings import TrainSettings
from src.training.nothing_new import nothing_new
from src.training.retention import retain
from src.training.termination import exit_on_signals
from src.training.train_once import has_champion, train_once
from src.training.training_run import SERVICE, Tasks, TrainingRun, logger


def main() -> int:
    """Read the arguments and the settings, train once, return the exit code."""
    parser = argparse.ArgumentParser(prog="run_pipeline.py", description=__doc__)
    parser.add_argument(
        "--if-needed",
        action="store_true",
        help="train only for claimed retrain requests, or where no model is champion yet",
    )
    if_needed: bool = parser.parse_args().if_needed
    configure_logging(SERVICE, log_format="console", level="INFO")
    try:
        settings = load_settings(TrainSettings)
    except LoopError as error:
        logger.error("%s", error)
        return ExitCode.PERMANENT
    configure_logging(SERVICE, log_format=settings.log_format, level=settings.log_level)
    tasks = Tasks(
        train=partial(train_once, load_pipeline),
        is_needed=lambda: not (if_needed and has_champion(settings)),
        nothing_new=partial(nothing_new, hash_data, OWN_FOLDER),
        retain=retain,
    )
    return TrainingRun(settings, tasks).run()


def hash_data(settings: TrainSettings, dataset: DatasetConfig) -> str:
    """Load and validate the data set; its SHA-256. Imports pandas, and neither ZenML nor MLflow."""
    from src.pipeline.data_preprocess import prepare  # noqa: PLC0415
    from src.training.dataset_file import data_sha256  # noqa: PLC0415

    return data_sha256(prepare(dataset, settings.dataset_url).frame, dataset)


def load_pipeline() -> Callable[..., Any]:
    """Import the training pipeline: heavy, and only once the environment that ZenML reads is prepared."""
    from src.pipeline.pipeline import training_pipeline  # noqa: PLC0415

    return training_pipeline


if __name__ == "__main__":
    exit_on_signals()
    sys.exit(main())
