"""Where rows come from and how they are cleaned; also the preprocess container's main.

``config/pipeline.yaml`` names the source and the valid values of each column. What it cannot express, such as a unit
that changed, belongs in ``clean``.
"""

import logging
import sys
from dataclasses import replace

import pandas as pd
from pydantic import SecretStr

from src.core.dataset_config import DatasetConfig
from src.core.errors import LoopError
from src.core.log import configure_logging
from src.core.pipeline_config import load_pipeline_config
from src.core.settings import load_settings
from src.core.training_settings import TrainSettings
from src.quality.training_rows import training_rows
from src.training.check_rows import CheckedRows, check_rows
from src.training.dataset_file import save
from src.training.sources import read

SERVICE = "preprocess"

logger = logging.getLogger(__name__)


def clean(frame: pd.DataFrame) -> pd.DataFrame:
    """YOURS to change: clean the raw rows before they are validated.

    Clients send the features as they are after this step, so labelled rows of the prediction log do not pass it; add
    new features in ``features.py`` instead.

    Args:
        frame: the configured columns as the source has them: text from CSV files ("" where a cell is empty), typed
            values from Parquet files and databases. Its index numbers the rows for messages: keep it.

    Returns:
        The rows to validate, with all configured columns.
    """
    return frame


def prepare(dataset: DatasetConfig, url: SecretStr | None = None) -> CheckedRows:
    """Read, clean and validate the configured data set, with the labelled rows of ``dataset.feedback``.

    Args:
        dataset: the source, and the valid values of its columns.
        url: the URL of the database, for ``source: sql``.

    Raises:
        DataError: the source cannot be read, or its rows are invalid; the message lists every problem.
        ConfigError: a setting is missing or does not allow to learn from labelled rows, or a package is missing.
        ConnectionFailedError: a server does not answer.
    """
    raw = read(dataset, url)
    return check_rows(replace(raw, frame=clean(raw.frame)), dataset, training_rows(dataset))


def main() -> int:
    """Preprocess once; return 0, 1 (try again) or 2 (fix the configuration or the data first)."""
    configure_logging(SERVICE, log_format="console", level="INFO")
    try:
        settings = load_settings(TrainSettings)
        configure_logging(SERVICE, log_format=settings.log_format, level=settings.log_level)
        dataset = load_pipeline_config(settings.pipeline_config).dataset
        rows = prepare(dataset, settings.dataset_url)
        digest = save(rows, settings.dataset_file, dataset)
    except LoopError as error:
        logger.error("%s", error)  # noqa: TRY400 - the message says what to do; a traceback would bury it
        return 2 if error.permanent else 1
    logger.info("%s; wrote %s, sha256 %s", rows.report.summary(), settings.dataset_file, digest)
    return 0


if __name__ == "__main__":
    sys.exit(main())
