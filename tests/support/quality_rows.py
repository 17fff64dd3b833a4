"""Files of the prediction log and of labels, as the stores write them, and a join of them that does not read them."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uuid_utils
from numpy.typing import NDArray

from src.core.quality_report import Score
from src.quality.labelled import Labelled, Scored
from src.quality.live_quality import LiveQuality, Resources

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
TIME = pa.timestamp("us", tz="UTC")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True)
class Row:
    """A logged row."""

    id: str
    ago: timedelta = HOUR
    key: str | None = None
    version: str = "1"
    role: str = "champion"
    rate: float = 1.0
    prediction: str = "a"
    shares: Mapping[str, float] | None = None

    @property
    def time(self) -> datetime:
        """When it was predicted."""
        return NOW - self.ago


@dataclass(frozen=True)
class Given:
    """A label; it became true ``true_ago`` ago, if that is known."""

    label: str
    id: str | None = None
    key: str | None = None
    ago: timedelta = timedelta()
    true_ago: timedelta | None = None

    @property
    def received(self) -> datetime:
        """When it was received."""
        return NOW - self.ago

    @property
    def time(self) -> datetime | None:
        """When it became true."""
        return None if self.true_ago is None else NOW - self.true_ago

    @property
    def rank(self) -> tuple[datetime, datetime, str]:
        """The label of a row with the highest rank counts."""
        return self.received, self.time or self.received, self.label


class CountingScorer:
    """The weighted share of right predictions; remembers the rows."""

    lower_is_better: Sequence[str] = ("error",)

    def __init__(self, *, by_class: bool = True, answer: Callable[[Labelled], Scored] | None = None) -> None:
        self.by_class = by_class
        self.seen: list[Labelled] = []
        self._answer = answer

    def __call__(self, rows: Labelled) -> Scored:
        """Score at least one row."""
        self.seen.append(rows)
        if self._answer is not None:
            return self._answer(rows)
        right = float((rows.weights * (rows.truth == rows.predictions)).sum() / rows.weights.sum())
        return Scored(len(rows), {"accuracy": Score(value=right)})

    def simulate(self, rows: Labelled, truths: Iterable[NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
        """The weighted share of right predictions for each truth."""
        shares = [np.average(truth == rows.predictions, weights=rows.weights) for truth in truths]
        return {"accuracy": np.array(shares)}


def write_log(folder: Path, rows: Iterable[Row], **features: pa.Array) -> list[str]:
    """One file for the rows of each version; returns the paths."""
    found = defaultdict[str, list[Row]](list)
    for row in rows:
        found[row.version].append(row)
    return [_write(folder, _log_table(some, features)) for some in found.values()]


def write_labels(folder: Path, labels: Sequence[Given]) -> list[str]:
    """One file; returns its path."""
    columns = {
        "request_id": pa.array([label.id for label in labels], pa.string()),
        "key": pa.array([label.key for label in labels], pa.string()),
        "label": pa.array([label.label for label in labels], pa.string()),
        "time": pa.array([label.time for label in labels], TIME),
        "received": pa.array([label.received for label in labels], TIME),
    }
    return [_write(folder, pa.table(columns))]


def joined(
    folder: Path,
    rows: Sequence[Row],
    labels: Sequence[Given],
    scorer: CountingScorer | None = None,
    memory_bytes: int = 200_000_000,
) -> LiveQuality:
    """The join of some rows and labels, with files in a folder."""
    return LiveQuality(
        write_log(folder, rows) if rows else [],
        write_labels(folder, labels) if labels else [],
        NOW,
        scorer or CountingScorer(),
        Resources(memory_bytes, folder / "spilled", 1),
    )


def truth_of(rows: Sequence[Row], labels: Sequence[Given]) -> dict[str, Given]:
    """The label of each request that has one."""
    found = defaultdict[str, list[Given]](list)
    for label in labels:
        request = request_of(label, rows)
        if request is not None:
            found[request].append(label)
    return {request: max(given, key=lambda label: label.rank) for request, given in found.items()}


def request_of(label: Given, rows: Sequence[Row]) -> str | None:
    """The request with the id of a label, else that of the newest row with its key when it became true."""
    if label.id is not None:
        return label.id if any(row.id == label.id for row in rows) else None
    true_at = label.time or label.received
    return max(((row.time, row.id) for row in rows if row.key == label.key and row.time <= true_at), default=(0, None))[
        1
    ]


def _log_table(rows: Sequence[Row], features: Mapping[str, pa.Array]) -> pa.Table:
    names = dict.fromkeys(name for row in rows for name in row.shares or ())
    return pa.table(
        {
            "request_id": [row.id for row in rows],
            "key": pa.array([row.key for row in rows], pa.string()),
            "time": pa.array([row.time for row in rows], TIME),
            "model_version": [row.version for row in rows],
            "role": [row.role for row in rows],
            "rate": pa.array([row.rate for row in rows], pa.float64()),
            "prediction": [row.prediction for row in rows],
            **{
                f"probability_{name}": pa.array([(row.shares or {}).get(name) for row in rows], pa.float64())
                for name in names
            },
            **features,
        }
    )


def _write(folder: Path, table: Any) -> str:
    path = folder / f"{uuid_utils.uuid7()}.parquet"
    pq.write_table(table, path)
    return os.fspath(path)
