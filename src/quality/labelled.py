"""Labelled rows as the metrics take them, and what the metrics say about them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from src.core.quality_report import Score

Columns = Mapping[str, NDArray[Any]]


class Shares(NamedTuple):
    """The probabilities of some rows.

    Attributes:
        classes: the names of the columns, sorted.
        probabilities: (n, classes), NaN in rows without probabilities.
    """

    classes: tuple[str, ...]
    probabilities: NDArray[np.float64]

    @classmethod
    def of(cls, columns: Columns, names: Mapping[str, str]) -> "Shares | None":
        """From columns, which are masked where null; None if no row has probabilities.

        Args:
            columns: those of the probabilities, and others.
            names: their names, by class.
        """
        found = {
            name: np.ma.filled(columns[column].astype(np.float64), np.nan)
            for name, column in sorted(names.items())
            if not np.ma.getmaskarray(columns[column]).all()
        }
        if not found:
            return None
        probabilities = np.column_stack(list(found.values()))
        # A row with probabilities has one for each class of its version.
        missing = np.isnan(probabilities)
        probabilities[missing & ~missing.all(axis=1, keepdims=True)] = 0.0
        return cls(tuple(found), probabilities)


@dataclass(frozen=True)
class Labelled:
    """Rows of one version with their labels.

    Attributes:
        version: the model's version, for messages.
        truth: (n,) the labels, as text.
        predictions: (n,) the predictions, as text.
        classes: the names of the probabilities' columns, sorted; empty where no row has probabilities.
        probabilities: (n, classes), NaN in rows without probabilities; None where no row has any.
        weights: (n,) the inverse of the sampling rates.
        keys: (n,) the team's keys, the row's id where there is none; rows with the same key depend on each other.
    """

    version: str
    truth: NDArray[Any]
    predictions: NDArray[Any]
    classes: tuple[str, ...]
    probabilities: NDArray[np.float64] | None
    weights: NDArray[np.float64]
    keys: NDArray[Any]

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, rows: NDArray[np.bool_]) -> "Labelled":
        """The rows of a mask."""
        return replace(
            self,
            truth=self.truth[rows],
            predictions=self.predictions[rows],
            probabilities=None if self.probabilities is None else self.probabilities[rows],
            weights=self.weights[rows],
            keys=self.keys[rows],
        )

    @classmethod
    def of(cls, version: str, columns: Columns, shares: Mapping[str, str]) -> "Labelled":
        """Rows from columns, which are masked where null.

        Args:
            version: the model's version.
            columns: ``label``, ``prediction``, ``rate``, ``key``, ``request_id``, and those of the probabilities.
            shares: the names of the columns of the probabilities, by class.
        """
        found = Shares.of(columns, shares)
        keys = _text(columns["key"])
        without = np.ma.getmaskarray(columns["key"])
        keys[without] = _text(columns["request_id"])[without]
        return cls(
            version=version,
            truth=_text(columns["label"]),
            predictions=_text(columns["prediction"]),
            classes=found.classes if found else (),
            probabilities=found.probabilities if found else None,
            weights=1.0 / np.ma.getdata(columns["rate"]).astype(np.float64),
            keys=keys,
        )


class Pairs(NamedTuple):
    """Labels, and the predictions of two versions for the same rows, (n,) text each, as the labels arrived.

    The probabilities of a version are None if no row has some, or if they would take too much memory.
    """

    truth: NDArray[Any]
    new: NDArray[Any]
    previous: NDArray[Any]
    new_shares: Shares | None = None
    previous_shares: Shares | None = None


@dataclass(frozen=True)
class Scored:
    """What the metrics say about some rows.

    Attributes:
        rows: the number of rows that were scored.
        scores: those that are defined, by metric.
        unknown: rows whose label is no class of the configuration, or no number; they were left out.
        failures: messages by metric.
        unlabelled: the classes that no scored row has as its label.
    """

    rows: int = 0
    scores: dict[str, Score] = field(default_factory=dict)
    unknown: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    unlabelled: tuple[str, ...] = ()


class Scorer(Protocol):
    """The metrics of the adopter's configuration."""

    @property
    def lower_is_better(self) -> Sequence[str]:
        """The metrics where lower is better."""

    @property
    def by_class(self) -> bool:
        """Whether predictions are classes, whose coverage counts, or numbers."""

    def __call__(self, rows: Labelled) -> Scored:
        """Score at least one row."""

    def simulate(self, rows: Labelled, truths: Iterable[NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
        """Score rows with each of many truths, (n,) class names; NaN where a metric is undefined. ``truth`` is ignored.

        Args:
            rows: at least one, all with probabilities.
            truths: in turn.

        Returns:
            By metric (truths,) scores; a metric that fails is left out.
        """


def _text(column: NDArray[Any]) -> NDArray[Any]:
    return np.ma.getdata(column).astype(object)


def numbers_of(texts: NDArray[Any]) -> NDArray[np.float64]:
    """(n,) texts as numbers; NaN where a text is none."""
    return np.array([_number(text) for text in texts], dtype=np.float64)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
