"""Other worlds and other changes, by which the constants of the estimate are chosen.

``make measure-estimate ESTIMATE_ARGS=--choice`` measures them. The published worlds have no part in the choice.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# Rows are drawn from so many times as many.
POOL = 8


def steps(rows: Floats, classes: int) -> Floats:
    """(n, classes) log odds that jump at limits, one of them where two columns are high."""
    first = 2.5 * (rows[:, 0] > 0.3) - 2.0 * (rows[:, 1] > 0) - 0.8  # noqa: PLR2004 - a limit
    first += 1.8 * ((rows[:, 2] > 0) & (rows[:, 3] > 0))
    second = 1.5 * (rows[:, 4] > 0.5) + 1.2 * rows[:, 0] - 0.5  # noqa: PLR2004 - as above
    return np.column_stack([*(first, second)[: classes - 1], np.zeros(len(rows))])


def mixed(rows: Floats, classes: int) -> Floats:
    """(n, classes) log odds that are linear for the most part."""
    first = 1.2 * rows[:, 0] - 0.8 * rows[:, 1] + 0.9 * rows[:, 2] * rows[:, 3] + rows[:, 4] ** 2 / 2 - 0.5
    second = 1.1 * rows[:, 1] + 0.9 * np.cos(2 * rows[:, 0])
    return np.column_stack([*(first, second)[: classes - 1], np.zeros(len(rows))])


def oblique(rows: Floats, _: np.random.Generator) -> Floats:
    """Four columns that are higher or lower together."""
    return np.asarray(rows + np.array([0.7, -0.7, 0.3, 0.0, 0.0, 0.3]))


def oblique_back(rows: Floats, _: np.random.Generator) -> Floats:
    """The opposite."""
    return np.asarray(rows - np.array([0.7, -0.7, 0.3, 0.0, 0.0, 0.3]))


def closer(rows: Floats, _: np.random.Generator) -> Floats:
    """All columns less spread."""
    return 0.6 * rows


def near(rows: Floats, random: np.random.Generator) -> Floats:
    """Seven of ten rows with three columns near their means."""
    mask = random.random((len(rows), 1)) < 0.7  # noqa: PLR2004 - seven of ten
    return np.where(mask & np.isin(np.arange(rows.shape[1]), [1, 2, 3]), 0.4 * rows, rows)


def selected(rows: Floats, random: np.random.Generator) -> Floats:
    """Rows where two columns are mostly high."""
    pool = random.normal(size=(POOL * len(rows), rows.shape[1]))
    return _some(pool, 1 / (1 + np.exp(-3 * pool[:, 1] - 2 * pool[:, 2])), len(rows), random)


def outer(rows: Floats, random: np.random.Generator) -> Floats:
    """Rows that are mostly far from the means of three columns."""
    pool = random.normal(size=(POOL * len(rows), rows.shape[1]))
    return _some(pool, np.minimum(np.square(pool[:, :3]).sum(axis=1) / 6, 1), len(rows), random)


def _some(pool: Floats, chances: Floats, count: int, random: np.random.Generator) -> Floats:
    return pool[random.random(len(pool)) < chances][:count]


CHOICE_RELATIONS = {"steps": steps, "mixed": mixed}
CHOICE_SHIFTS = {
    "four columns moved": oblique,
    "four columns moved back": oblique_back,
    "all columns closer": closer,
    "seven of ten rows near": near,
    "rows selected by two columns": selected,
    "outer rows": outer,
}
