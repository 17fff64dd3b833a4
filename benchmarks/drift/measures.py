"""Simulates references and windows to measure false alarms and power."""

import zlib
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.drift.columns import COLUMNS, MODEL
from src.serving.watch.drift import FALSE_ALARMS, Drift
from src.serving.watch.references import Reference
from src.serving.watch.two_sample import Comparison, chi_square_tail, compare

SEED = 11
# The number of features of the simulated model.
FEATURES = 30
BINS = 10
WINDOW = 300
# Prometheus evaluates every five seconds, and FeatureDrift waits for a minute.
LOOKS_PER_DAY = 86_400 // 5
LOOKS_TO_FIRE = 60 // 5 + 1


class Cell(msgspec.Struct, frozen=True):
    """One kind of column at one size of reference and window.

    Attributes:
        windows: the number of windows without drift, and with each drift, each with a fresh reference.
        alarms: windows without drift that are called drifted, in a model of this feature alone.
        positive: windows without drift that have a score above 0.
        power: by drift, the share of windows of drifted rows that are called drifted: in a model of this feature alone,
            and in one of ``FEATURES``.
    """

    column: str
    rows: int
    window: int
    windows: int
    alarms: int
    positive: int
    power: dict[str, tuple[float, float]]


class Whole(msgspec.Struct, frozen=True):
    """A model of many features: the windows without drift in which any feature is called drifted."""

    features: int
    rows: int
    window: int
    windows: int
    alarms: int


class Days(msgspec.Struct, frozen=True):
    """Continuous evaluation of a model of ``FEATURES`` numbers without drift.

    Attributes:
        rows_per_second: of traffic.
        drifted: how often per day a feature becomes drifted.
        fired: how often per day this lasts until FeatureDrift fires.
    """

    rows: int
    rows_per_second: float
    days: int
    drifted: float
    fired: float


def measure_cell(name: str, rows: int, window: int, *, windows: int) -> Cell:
    """One cell: for each fresh reference, a window without drift and one with each drift."""
    column, random = COLUMNS[name], _random(name, rows, window)
    calm = []
    found: dict[str, list[Comparison]] = {kind: [] for kind in column.drifts}
    for _ in range(windows):
        reference = column.reference(random, rows)
        calm.append(_compare(reference, column.draw(random, window)))
        for kind, draw in column.drifts.items():
            found[kind].append(_compare(reference, draw(random, window)))
    power = {kind: (_share_drifted(every, 1), _share_drifted(every, FEATURES)) for kind, every in found.items()}
    return Cell(
        column=name,
        rows=rows,
        window=window,
        windows=windows,
        alarms=sum(Drift.of(one, 1).drifted for one in calm),
        positive=sum(Drift.of(one, 1).score > 0 for one in calm),
        power=power,
    )


def measure_whole(rows: int, window: int, *, windows: int, names: tuple[str, ...] = MODEL) -> Whole:
    """A model of these columns."""
    random = _random("model", rows, window)
    alarms = 0
    for _ in range(windows):
        columns = [COLUMNS[name] for name in names]
        found = [_compare(column.reference(random, rows), column.draw(random, window)) for column in columns]
        alarms += any(Drift.of(one, len(names)).drifted for one in found)
    return Whole(len(names), rows, window, windows, alarms)


def measure_days(rows: int, rows_per_look: int, *, days: int) -> Days:
    """Days of traffic, each with a fresh reference; a window is a multiple of the rows between two looks.

    Where an unknown continuous distribution is cut at the reference's quantiles, the probabilities of the bins have a
    Dirichlet distribution, whatever it is (Wilks 1962, Mathematical Statistics, 8.7).
    """
    random = _random("days", rows, rows_per_look)
    limit = _critical_value(FALSE_ALARMS / FEATURES, BINS - 1)
    training = np.full(BINS, rows // BINS)
    drifted = fired = 0
    for _ in range(days * FEATURES):
        shares = random.dirichlet(training + np.eye(BINS, dtype=np.int64)[-1])
        looks = LOOKS_PER_DAY + WINDOW // rows_per_look
        total = np.cumsum(random.multinomial(rows_per_look, shares, looks), axis=0)
        counts = total[WINDOW // rows_per_look :] - total[: -WINDOW // rows_per_look]
        runs = _runs(_alarms(training, counts, limit))
        drifted += len(runs)
        fired += int((runs >= LOOKS_TO_FIRE).sum())
    return Days(rows, rows_per_look / 5, days, drifted / days, fired / days)


def _alarms(training: NDArray[np.int64], counts: NDArray[np.int64], limit: float) -> NDArray[np.bool_]:
    """(looks,) whether each window is called drifted; computed only where X2 exceeds its limit."""
    expected = (training + counts) * (counts.sum(axis=1) / (training.sum() + counts.sum(axis=1)))[:, None]
    pearson = ((counts - expected) ** 2 / expected).sum(axis=1) * (1 + WINDOW / training.sum())
    alarms: NDArray[np.bool_] = pearson >= limit
    for look in np.flatnonzero(alarms).tolist():
        alarms[look] = Drift.of(compare(training, counts[look], ordered=True), FEATURES).drifted
    return alarms


def _runs(alarms: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The lengths of the runs of alarms."""
    ends = np.flatnonzero(np.diff(np.concatenate([[0], alarms.astype(np.int8), [0]])))
    return ends[1::2] - ends[::2]


def _critical_value(level: float, freedom: int) -> float:
    low, high = 0.0, 1000.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if chi_square_tail(middle, freedom) > level else (low, middle)
    return low


def _compare(reference: Reference, values: NDArray[Any]) -> Comparison:
    return reference.compare(reference.keys_of(values))


def _share_drifted(found: list[Comparison], tests: int) -> float:
    return sum(Drift.of(one, tests).drifted for one in found) / len(found)


def _random(name: str, *sizes: int) -> np.random.Generator:
    return np.random.default_rng([SEED, zlib.crc32(name.encode()), *sizes])
