"""Loads the data set, validates it and writes it to the shared volume; also the preprocess container's main."""

import hashlib
import logging
import os
import sys
from pathlib import Path

import pandas as pd
from sklearn.datasets import load_iris

from src.core.dataset_config import DatasetConfig
from src.core.errors import DataError, LoopError
from src.core.log import configure_logging
from src.core.pipeline_config import load_pipeline_config
from src.core.settings import TrainSettings, load_settings
from src.training.check_columns import check_feature, check_target, missing_texts, report

SERVICE = "preprocess"

logger = logging.getLogger(__name__)


def preprocess(config: DatasetConfig) -> pd.DataFrame:
    """Load and validate the configured data set.

    Returns:
        (rows, features + 1): the feature columns in the configuration's order, then the target. Numbers are float64,
        booleans bool (object where one is missing), categories and classes text; a missing value is NaN or None.

    Raises:
        DataError: the source cannot be read, or naming everything that is wrong with its rows.
    """
    return validate(load_dataset(config), config)


def load_dataset(config: DatasetConfig) -> pd.DataFrame:
    """Read the source as it is: Iris from scikit-learn, or a CSV file, every cell of which stays text."""
    if config.source == "iris":
        iris = load_iris(as_frame=True)
        frame: pd.DataFrame = iris.data.rename(columns=lambda name: name.removesuffix(" (cm)").replace(" ", "_"))
        return frame.assign(**{config.target: iris.target_names[iris.target]})
    if not config.source.endswith(".csv"):
        raise DataError(f"dataset.source is {config.source!r}; it must be iris or the path of a .csv file")
    try:
        return pd.read_csv(
            config.source, dtype=str, skipinitialspace=True, keep_default_na=False, na_values=missing_texts(config)
        )
    except OSError as error:
        raise DataError(
            f"{config.source} cannot be read: {error.strerror}; set dataset.source to a CSV file"
        ) from error
    except (ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{config.source} is not a CSV file with a header: {' '.join(str(error).split())}") from error


def validate(raw: pd.DataFrame, config: DatasetConfig) -> pd.DataFrame:
    """Check everything and report all problems at once, with counts and example rows (the first row is 1).

    Raises:
        DataError: columns, types, missing or infinite values, ranges, classes, duplicates or class counts are wrong.
    """
    missing = [name for name in (*config.features, config.target) if name not in raw.columns]
    if missing:
        raise DataError(
            f"{config.source} lacks the columns {', '.join(missing)} (it has {', '.join(map(str, raw.columns))}); "
            "mend its header or dataset.features and dataset.target"
        )
    problems: list[str] = []
    columns = {name: check_feature(raw[name], name, feature, problems) for name, feature in config.features.items()}
    columns[config.target] = check_target(raw[config.target], config, problems)
    frame = pd.DataFrame(columns)
    frame = _handle_duplicates(frame, config, problems)
    if not problems:
        # Only now: rows that are wrong otherwise would be missing from the counts and told twice.
        _check_counts(frame[config.target], config, problems)
    if problems:
        raise DataError(
            f"{config.source} fails validation: {'; '.join(problems)}; mend the rows or the dataset section"
        )
    return frame.reset_index(drop=True)


def to_csv(frame: pd.DataFrame) -> bytes:
    """The data set's canonical bytes: equal frames give equal bytes on every platform."""
    return frame.to_csv(index=False, lineterminator="\n").encode()


def data_sha256(frame: pd.DataFrame) -> str:
    """The SHA-256, in hexadecimal, of the data set's canonical bytes."""
    return hashlib.sha256(to_csv(frame)).hexdigest()


def save(frame: pd.DataFrame, file: Path) -> str:
    """Write the data set and, beside it, ``<file>.sha256`` for ``sha256sum -c``; each in one step.

    Returns:
        The file's SHA-256 in hexadecimal.

    Raises:
        LoopError: the folder cannot be written to.
    """
    digest = data_sha256(frame)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _replace(file, to_csv(frame))
        _replace(file.with_name(f"{file.name}.sha256"), f"{digest}  {file.name}\n".encode())
    except OSError as error:
        raise LoopError(
            f"cannot write {file} ({error.strerror}); make its folder writable, free some space or set DATA_DIR"
        ) from error
    return digest


def main() -> int:
    """Preprocess once; return 0, 1 (try again) or 2 (configuration or data must be mended first)."""
    configure_logging(SERVICE, log_format="console", level="INFO")
    try:
        settings = load_settings(TrainSettings)
        configure_logging(SERVICE, log_format=settings.log_format, level=settings.log_level)
        frame = preprocess(load_pipeline_config(settings.pipeline_config).dataset)
        digest = save(frame, settings.dataset_file)
    except LoopError as error:
        logger.error("%s", error)  # noqa: TRY400 - the message says what to do; a traceback would bury it
        return 2 if error.permanent else 1
    logger.info("wrote %d rows to %s, sha256 %s", len(frame), settings.dataset_file, digest)
    return 0


def _handle_duplicates(frame: pd.DataFrame, config: DatasetConfig, problems: list[str]) -> pd.DataFrame:
    if config.duplicates == "drop":
        return frame.drop_duplicates()
    if config.duplicates == "error":
        report(problems, "repeats an earlier row in every column", frame.duplicated())
    return frame


def _check_counts(target: pd.Series, config: DatasetConfig, problems: list[str]) -> None:
    if config.classes is None or config.min_rows_per_class is None:
        if target.nunique() < 2:  # noqa: PLR2004 - one value only is nothing to learn
            problems.append(f"{config.target}: the same number in every row")
        return
    counts, least = target.value_counts(), config.min_rows_per_class
    few = [f"{name} {counts.get(name, 0)}" for name in config.classes if counts.get(name, 0) < least]
    if few:
        problems.append(f"fewer than dataset.min_rows_per_class = {least} rows: {', '.join(few)}")


def _replace(file: Path, content: bytes) -> None:
    """Write a file so that readers see the old or the new content, never a part."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.rename(file)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


if __name__ == "__main__":
    sys.exit(main())
