"""Labelled rows of the prediction log, as rows to learn from (``dataset.feedback``)."""

import os
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from src.core.column_rules import FIRST_DAY, LAST_DAY, SECONDS_PER_DAY, number_of
from src.core.dataset_config import FEEDBACK_TIME, DatasetConfig
from src.core.errors import ConfigError, LoopError, first_line
from src.core.feature_schema import Column, ColumnType
from src.core.learning_settings import LearningSettings
from src.core.memory import memory_limit
from src.core.prediction_log import KEY_SEPARATOR
from src.core.prediction_log_settings import LoggedColumnsSettings
from src.core.settings import load_settings
from src.quality import join_queries, training_queries
from src.quality.bucket import open_bucket
from src.quality.live_quality import EPOCH, MICROSECOND, Resources
from src.quality.parquet_files import TIME
from src.quality.segments import ARROW_TYPES
from src.quality.stores import stores_of

# The share of the memory limit that the join gets: the rows of the source need the rest.
MEMORY_SHARE = 0.25
MAX_MEMORY_BYTES = 1_000_000_000
MAX_THREADS = 2
MICROSECONDS_PER_DAY = SECONDS_PER_DAY * 1_000_000


class TrainingRows(NamedTuple):
    """Labelled rows of raw cells.

    Attributes:
        table: (n, ``dataset.columns`` and ``feedback_time``), newest first; dates and times are time stamps.
        left_out: how many labelled rows cannot be used, by reason.
    """

    table: pa.Table
    left_out: dict[str, int]


def training_rows(dataset: DatasetConfig) -> TrainingRows | None:
    """The labelled rows of the environment's model and folder; None unless ``dataset.feedback.use``.

    Raises:
        ConfigError: the log lacks what is needed, or anyone could have sent the labels.
        LoopError: the log cannot be read.
    """
    if not dataset.feedback.use:
        return None
    settings = load_settings(LearningSettings)
    settings.require_trusted_labels()
    check_logged(dataset, settings)
    try:
        return read_training_rows(dataset, settings, datetime.now(UTC))
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise LoopError(
            f"the labelled rows in {settings.quality_dir} cannot be read ({type(error).__name__}: "
            f"{first_line(error)}); make the folder readable and writable, give the training more memory, or set "
            "dataset.feedback.use to false"
        ) from error


def check_logged(dataset: DatasetConfig, settings: LoggedColumnsSettings) -> None:
    """Require that the log has what identifies a row, and all columns that a row must have.

    Raises:
        ConfigError: names the columns, and says what to change.
    """
    for variable, names in (
        ("PREDICTION_LOG_OMIT", settings.omitted_columns),
        ("PREDICTION_LOG_HASH", settings.hashed_columns),
    ):
        if ids := [name for name in dataset.id if name in names]:
            raise ConfigError(
                f"dataset.feedback.use is on, and {variable} has the id columns {', '.join(ids)}: rows of one id could "
                f"be both learned from and held out; remove them from {variable} or set dataset.feedback.use to false"
            )
        if needed := [column.name for column in _columns(dataset) if column.required and column.name in names]:
            raise ConfigError(
                f"dataset.feedback.use is on, and {variable} has the required columns {', '.join(needed)}, so that no "
                f"logged row can be learned from; remove them from {variable}, give them missing: true, or set "
                "dataset.feedback.use to false"
            )
    if dataset.group is not None and dataset.group not in {*dataset.features, *dataset.id}:
        raise ConfigError(
            f"dataset.feedback.use is on, and the log does not have the group {dataset.group!r}; list it in dataset.id "
            "and send it with each batch, make it a feature, or set dataset.feedback.use to false"
        )


def read_training_rows(dataset: DatasetConfig, settings: LearningSettings, now: datetime) -> TrainingRows:
    """Join log and labels; meanwhile, no other process changes them.

    Rows count that the champion has predicted since the start of the day ``max_age_days`` ago, so that the same labels
    give the same rows throughout a day (UTC). Of several rows with one request id the newest counts.

    Raises:
        duckdb.Error, pyarrow.ArrowException, OSError: a file cannot be read, or the memory does not suffice.
        ConfigError: a manifest is damaged, or the object store refuses access.
        ConnectionFailedError: the object store does not answer.
    """
    columns, absent = _columns(dataset), settings.omitted_columns | settings.hashed_columns
    read = [column for column in columns if column.name not in absent]
    stores = stores_of(settings.quality_dir, settings.model_name, open_bucket(settings.prediction_log_store))
    log, labels = stores.log, stores.labels
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    start = today - timedelta(days=min(dataset.feedback.max_age_days, (today - EPOCH).days))
    left_out: dict[str, int] = {}
    table = None
    if log.may_exist and labels.may_exist:
        with log.locked(), labels.locked():
            files = log.paths(start)
            if files:
                table = _joined(files, labels.paths(), read, start, left_out)
    if table is None:
        return TrainingRows(pa.table({name: pa.nulls(0) for name in (*dataset.columns, FEEDBACK_TIME)}), {})
    features = {column.name: table[f"f{place}"] for place, column in enumerate(read)}
    for column in columns:
        values = features.get(column.name, pa.nulls(len(table), ARROW_TYPES[column.type]))
        features[column.name] = _moments(values) if column.type is ColumnType.DATE else values
    return _as_rows(table, features, dataset, left_out)


def _columns(dataset: DatasetConfig) -> list[Column]:
    """The features; those that identify a row, or its time or group, are required."""
    needed = {*dataset.id, dataset.time, dataset.group}
    return [
        Column(column.name, column.type, required=column.required or column.name in needed)
        for column in dataset.feature_schema.columns
    ]


def _joined(
    log: Sequence[str], labels: Sequence[str], columns: Sequence[Column], start: datetime, left_out: dict[str, int]
) -> pa.Table:
    """The rows with their features as ``f0``, ``f1``, …; what is left out is counted."""
    views = training_queries.features_query(log, columns)
    parameters = {"start": (start - EPOCH) // MICROSECOND}
    memory = int(min(MAX_MEMORY_BYTES, memory_limit() * MEMORY_SHARE))
    with tempfile.TemporaryDirectory(prefix="labelled-rows-") as folder:
        connection = Resources(memory, Path(folder), min(MAX_THREADS, os.cpu_count() or 1)).connect()
        try:
            connection.execute(
                f"CREATE VIEW log AS {views}; CREATE VIEW labels AS {join_queries.labels_query(labels)};"
                + join_queries.JOIN
            )
            unusable, usable = connection.execute(training_queries.COUNTS, parameters).fetchall()[0]
            table: pa.Table = connection.sql(training_queries.ROWS, params=parameters).to_arrow_table()
        finally:
            connection.close()
    left_out["of versions without a required column"] = unusable
    left_out["repeated request ids"] = usable - len(table)
    return table


def _as_rows(
    table: pa.Table, features: dict[str, pa.Array], dataset: DatasetConfig, left_out: dict[str, int]
) -> TrainingRows:
    """The columns of the data set; rows without an id are left out."""
    columns, keyed = dict(features), [name for name in dataset.id if name not in dataset.features]
    if len(keyed) == 1:
        columns[keyed[0]] = pc.coalesce(table["key"], table["request_id"])
    if dataset.time is not None and dataset.time not in {*columns, *keyed}:
        columns[dataset.time] = table["time"].cast(TIME)
    labels = table["label"]
    if dataset.target_range is not None:
        labels = pa.array([number_of(label.strip()) for label in labels.to_pylist()], pa.float64())
    columns[dataset.target] = labels
    columns[FEEDBACK_TIME] = pc.divide(table["time"].cast(pa.float64()), float(MICROSECONDS_PER_DAY))
    rows = pa.table(columns)
    if len(keyed) > 1:
        rows = _with_ids(rows, table["key"], keyed)
    left_out["without an id"] = len(table) - len(rows)
    found = {reason: number for reason, number in left_out.items() if number}
    return TrainingRows(rows.select([*dataset.columns, FEEDBACK_TIME]), found)


def _with_ids(rows: pa.Table, keys: pa.ChunkedArray, names: Sequence[str]) -> pa.Table:
    """The rows whose key has so many parts, with these as columns."""
    parts = pc.split_pattern(keys, KEY_SEPARATOR)
    complete = pc.equal(pc.list_value_length(parts), len(names))  # null without a key: left out
    rows, parts = rows.filter(complete), parts.filter(complete)
    for place, name in enumerate(names):
        rows = rows.append_column(name, pc.list_element(parts, place))
    return rows


def _moments(days: pa.ChunkedArray) -> pa.Array:
    """Days since 1970 as time stamps; null where they are no date."""
    values: Any = days.cast(pa.float64()).to_numpy()
    known = (values > FIRST_DAY + 1) & (values < LAST_DAY - 1)
    micros = np.round(np.where(known, values, 0.0) * MICROSECONDS_PER_DAY).astype(np.int64)
    return pa.array(micros, mask=~known).cast(TIME)
