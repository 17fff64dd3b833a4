"""Validates raw rows: reports every problem with its rows, and applies the configured policies."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from src.core.counting import counted
from src.core.dataset_config import DatasetConfig, InvalidRows
from src.core.errors import DataError
from src.training.cells import Bools
from src.training.check_columns import EXAMPLES, Column, Problem, check_columns, finished_frame
from src.training.data_files import duplicates_of, lacks
from src.training.data_report import DataReport
from src.training.labelled_rows import Labelled, with_labelled
from src.training.remote_source import shown_source
from src.training.sources import RawData

MAX_LISTED = 10_000
INVALID_COLUMNS = ["file", "row", "column", "problem"]


@dataclass(frozen=True)
class CheckedRows:
    """A validated data set.

    Attributes:
        frame: (rows, ``dataset.columns``), and as a last column ``feedback_time`` where labelled rows were asked for.
            Numbers, dates (days since 1970-01-01 UTC) and times are float64, integers int64 (float64 where one is
            missing), booleans bool (objects where one is missing), other columns text; a missing value is NaN or None.
        report: what was read and left out.
        invalid: (cells, 4) file, row in the file, column and problem of up to ``MAX_LISTED`` invalid cells.
    """

    frame: pd.DataFrame
    report: DataReport
    invalid: pd.DataFrame


def check_rows(raw: RawData, dataset: DatasetConfig, labelled: Labelled | None = None) -> CheckedRows:
    """Validate all cells, and drop or accept invalid rows as ``dataset.invalid_rows`` says.

    Args:
        raw: the rows of the source.
        dataset: their valid values.
        labelled: rows of the prediction log that are added; invalid ones are left out, and never stop the training.

    Raises:
        ConfigError: the labelled rows cannot be added to such a source.
        DataError: the rows are invalid; the message lists every problem with its count and example rows (the first row
            of a file is 1).
    """
    source, total = shown_source(dataset.source), len(raw.frame)
    _require(raw.frame, dataset, source)
    columns, places = check_columns(raw.frame, dataset), _Places(raw)
    invalid = [problem for column in columns for problem in column.problems if problem.rows.any()]
    described = [
        f"{problem.column}: {problem.what}{problem.examples}: {places.examples(problem.rows)}" for problem in invalid
    ]
    affected, dropped = _any_of(invalid, total), _any_of(_row_problems(invalid, columns, dataset), total)
    wrong = _refused(described, int(affected.sum()), total, dataset.invalid_rows)
    frame = finished_frame(columns, ~dropped, dataset)
    repeats = np.zeros(total, dtype=bool)
    if dataset.duplicates != "keep":
        repeats[~dropped] = frame.duplicated().to_numpy()
    if dataset.duplicates == "error" and repeats.any():
        wrong.append(f"repeats an earlier row in every column: {places.examples(repeats)}")
    frame = frame[~repeats[~dropped]].reset_index(drop=True)
    left_out: dict[str, int] = {}
    live = None
    if labelled is not None:
        source_rows = len(frame)
        frame, left_out = with_labelled(frame, raw.frame, labelled, dataset)
        live = len(frame) - source_rows
    # Last: rows with other problems would be missing from the counts and be reported twice.
    wrong = wrong or _unlearnable(frame, dataset)
    if wrong:
        raise DataError(f"{source} fails validation: {'; '.join(wrong)}; fix the rows or the dataset section")
    report = DataReport(
        source=source,
        files=list(raw.files),
        skipped_files=list(raw.skipped),
        rows=len(frame),
        invalid_rows=int(affected.sum()),
        dropped_rows=int(dropped.sum()),
        duplicate_rows=int(repeats.sum()),
        problems=described,
        live_rows=live,
        live_left_out=left_out,
    )
    return CheckedRows(frame, report, places.listed(invalid))


def _require(frame: pd.DataFrame, dataset: DatasetConfig, source: str) -> None:
    """Require the configured columns, once each, and at least one row; ``clean`` may have removed them."""
    names = list(frame.columns)
    if twice := duplicates_of([name for name in names if name in dataset.columns]):
        raise DataError(f"{source} has the columns {', '.join(twice)} more than once")
    if not set(dataset.columns) <= set(names):
        raise DataError(lacks(source, names, dataset.columns))
    if frame.empty:
        raise DataError(f"{source} has no rows")


def _any_of(problems: list[Problem], rows: int) -> Bools:
    """Rows that have one of the problems, shape (rows,)."""
    found = np.zeros(rows, dtype=bool)
    for problem in problems:
        found |= problem.rows
    return found


def _row_problems(problems: list[Problem], columns: list[Column], dataset: DatasetConfig) -> list[Problem]:
    """The problems for which rows are dropped: with policy ``missing``, only those of required columns."""
    forgiving = {column.name for column in columns if column.optional and dataset.invalid_rows.policy == "missing"}
    return [problem for problem in problems if problem.column not in forgiving]


def _refused(described: list[str], affected: int, total: int, allowed: InvalidRows) -> list[str]:
    """The reasons to stop: every problem with policy ``fail``, otherwise too many invalid rows."""
    if allowed.policy == "fail" or not affected:
        return list(described)
    if affected / total <= allowed.max_share:
        return []
    share = (
        f"{affected} of {total} rows are invalid, more than dataset.invalid_rows.max_share {allowed.max_share:g} allows"
    )
    return [share, *described]


def _unlearnable(frame: pd.DataFrame, dataset: DatasetConfig) -> list[str]:
    """Why nothing can be learned from valid rows: empty columns, classes with too few rows, a constant target."""
    if frame.empty:
        return ["no valid row is left"]
    problems = [f"{name}: no row has a value" for name in dataset.features if frame[name].isna().all()]
    target = frame[dataset.target]
    if dataset.classes is None or dataset.min_rows_per_class is None:
        if target.nunique() < 2:  # noqa: PLR2004 - a constant target
            problems.append(f"{dataset.target}: the same number in every row")
        return problems
    counts, least = target.value_counts(), dataset.min_rows_per_class
    few = [f"{name} {counts.get(name, 0)}" for name in dataset.classes if counts.get(name, 0) < least]
    if few:
        problems.append(f"fewer than dataset.min_rows_per_class = {least} rows: {', '.join(few)}")
    return problems


class _Places:
    """The file and row number of each position in the raw frame.

    If ``clean`` has replaced the index, rows are numbered by position.
    """

    def __init__(self, raw: RawData) -> None:
        self._raw = raw
        labels = raw.frame.index
        known = pd.api.types.is_integer_dtype(labels.dtype) and labels.is_unique and labels.min() >= 0
        within = known and labels.max() < sum(file.rows for file in raw.files)
        self._labels = labels.to_numpy() if within else np.arange(len(labels))
        self._is_known = within

    def examples(self, rows: Bools) -> str:
        """How many rows, and the first of them."""
        found = np.flatnonzero(rows)
        first = ", ".join(self._name(position) for position in found[:EXAMPLES])
        return f"{counted(len(found), 'row')} ({first}{', …' if len(found) > EXAMPLES else ''})"

    def listed(self, problems: list[Problem]) -> pd.DataFrame:
        """The problems cell by cell."""
        cells = [(position, problem) for problem in problems for position in np.flatnonzero(problem.rows)[:MAX_LISTED]]
        cells.sort(key=lambda cell: int(cell[0]))
        rows = [(*self._place(position), problem.column, problem.what) for position, problem in cells[:MAX_LISTED]]
        return pd.DataFrame(rows, columns=INVALID_COLUMNS)

    def _place(self, position: int) -> tuple[str, int]:
        row = int(self._labels[position])
        return self._raw.place(row) if self._is_known else ("", row + 1)

    def _name(self, position: int) -> str:
        file, row = self._place(position)
        return f"{file} {row}" if len(self._raw.files) > 1 and file else str(row)
