"""Adds labelled rows of the prediction log to the validated rows of the source."""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa

from src.core.dataset_config import FEEDBACK_TIME, MAX_NAME, CategoryFeature, DatasetConfig
from src.core.errors import ConfigError
from src.training.cells import Bools, dates
from src.training.check_columns import check_columns, finished_frame
from src.training.learned_columns import MAX_VALUES
from src.training.row_keys import Hashes, row_hashes


class Labelled(Protocol):
    """Labelled rows of raw cells.

    Attributes:
        table: (n, ``dataset.columns`` and ``feedback_time``), newest first; ``feedback_time`` is in days since 1970.
        left_out: how many others cannot be used, by reason.
    """

    @property
    def table(self) -> pa.Table: ...  # noqa: D102 - above

    @property
    def left_out(self) -> Mapping[str, int]: ...  # noqa: D102 - above


def with_labelled(
    source: pd.DataFrame, raw: pd.DataFrame, labelled: Labelled, dataset: DatasetConfig
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The source's rows, then the labelled ones that are valid and new, with the column ``feedback_time``.

    Of rows with one id the newest counts; a row whose id the source has is left out. Rows that repeat another one in
    every column are left out unless ``dataset.duplicates`` is ``keep``.

    Args:
        source: (m, ``dataset.columns``), validated.
        raw: the same before the validation.
        labelled: rows of the prediction log.
        dataset: the valid values.

    Returns:
        The rows, numbered from 0, and how many labelled rows are left out, by reason.

    Raises:
        ConfigError: the source's times are numbers, and the log's are not.
    """
    _require_dates(raw, dataset)
    left_out = dict(labelled.left_out)
    source = source.assign(**{FEEDBACK_TIME: np.nan})
    if not len(labelled.table):
        return source, left_out

    def drop(rows: pd.DataFrame, mask: Bools, reason: str) -> pd.DataFrame:
        if mask.any():
            left_out[reason] = int(mask.sum())
        return rows[~mask]

    live, wrong = _validated(labelled.table, dataset)
    live = drop(live, wrong, "invalid")
    live = drop(live, _with_new_texts(live, source, dataset, _unfit), "with a text that is no category")
    live = drop(live, _with_new_texts(live, source, dataset, _too_many), "of too many new categories")
    if dataset.id:
        live = drop(live, np.isin(_ids(live, dataset), _ids(source, dataset)), "with an id of the source")
        live = drop(live, pd.Series(_ids(live, dataset)).duplicated().to_numpy(), "with the id of a newer one")
    if live.empty:
        return source, left_out
    joined = pd.concat([source, live], ignore_index=True)
    if dataset.duplicates != "keep":
        repeats = joined.duplicated(subset=list(dataset.columns)).to_numpy() & (np.arange(len(joined)) >= len(source))
        joined = drop(joined, repeats, "repeated").reset_index(drop=True)
    return joined, left_out


def _require_dates(raw: pd.DataFrame, dataset: DatasetConfig) -> None:
    """Require dates in the column of the time, which labelled rows have from the log."""
    time = dataset.time
    if time is None or time in {*dataset.features, *dataset.id}:
        return
    found = dates(raw[time])
    if (found.missing | found.wrong).all():
        raise ConfigError(
            f"dataset.feedback.use is on, and the source has numbers in the time column {time}, whose unit is not "
            "known; write ISO 8601 such as 2026-01-31T08:30:00Z, or set dataset.feedback.use to false"
        )


def _validated(table: pa.Table, dataset: DatasetConfig) -> tuple[pd.DataFrame, Bools]:
    """The rows as validated ones, (n, ``dataset.columns`` and ``feedback_time``), and which of them are invalid."""
    raw = table.to_pandas(types_mapper=lambda kind: None if pa.types.is_string(kind) else pd.ArrowDtype(kind))
    columns = check_columns(raw, dataset)
    wrong = np.zeros(len(raw), dtype=bool)
    for column in columns:
        for problem in column.problems:
            wrong |= problem.rows
    frame = finished_frame(columns, np.ones(len(raw), dtype=bool), dataset)
    return frame.assign(**{FEEDBACK_TIME: raw[FEEDBACK_TIME].to_numpy(dtype=np.float64)}), wrong


def _ids(rows: pd.DataFrame, dataset: DatasetConfig) -> Hashes:
    """A hash of each row's id, by which the split identifies rows, too; shape (n,)."""
    return row_hashes(rows, dataset.id, 0)


def _with_new_texts(
    live: pd.DataFrame, source: pd.DataFrame, dataset: DatasetConfig, refused: Callable[[set[str], set[str]], set[str]]
) -> Bools:
    """Rows with texts that the source does not have and that are refused, in columns without configured values.

    Otherwise a client could stop or slow down every training, or the service, by sending them.

    Args:
        live: the labelled rows.
        source: the source's.
        dataset: names the columns.
        refused: which new texts cannot be learned; its arguments are the new ones and those of the source.
    """
    found = np.zeros(len(live), dtype=bool)
    for name, feature in dataset.features.items():
        if isinstance(feature, CategoryFeature) and feature.values is None:
            known = set(source[name].dropna())
            found |= live[name].isin(refused(set(live[name].dropna()) - known, known)).to_numpy()
    return found


def _unfit(new: set[str], _: set[str]) -> set[str]:
    """Texts that are longer than a configured value may be, or that ONNX ends at a null character."""
    return {text for text in new if len(text) > MAX_NAME or "\0" in text}


def _too_many(new: set[str], known: set[str]) -> set[str]:
    """All of the new texts, if there would be too many to be learned."""
    return new if len(new | known) > MAX_VALUES else set()
