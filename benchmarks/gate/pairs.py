"""Pairs of a champion and a challenger whose true difference is known, and a gate's verdict on each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from benchmarks.gate.registry import TwoVersions
from benchmarks.gate.tables import CLASSES, FEATURES, TARGET, Kind, World
from src.core.pipeline_config import PipelineConfig
from src.training.compare_models import compare
from src.training.comparison import Comparison
from src.training.gate import decide
from src.training.splitting import split_rows

Direction = Literal["worse", "better", "tie"]
Cause = Literal["labels", "overfitting", "underfitting"]
CAUSES: tuple[Cause, ...] = get_args(Cause)
Mask = NDArray[np.bool_]

SHARE = 0.3
TOLERANCE = 0.01
TREES = 20
# The minimum true difference of a pair's accuracies, and the number of fresh rows on which it is measured.
POINTS = 0.05
FRESH_ROWS = 20_000
# C times the number of rows for an underfitted logistic regression.
WRONG_STRENGTH = 2.0
# The share of random labels in the training rows of a worse champion.
WRONG_LABELS = 0.4
MAX_ATTEMPTS = 500


@dataclass(frozen=True)
class Case:
    """One pair: how its data grow, and what makes the challenger worse or better than the champion.

    The causes are wrong labels, overfitting (a single tree) and underfitting (a strongly regularised logistic
    regression).
    """

    kind: Kind
    rows: tuple[int, int]
    direction: Direction
    cause: Cause
    seed: int


@dataclass(frozen=True)
class Pair:
    """Two fitted models and the verdict on the second.

    Attributes:
        truth: the challenger's accuracy on fresh rows minus the champion's.
        promoted: the verdict.
        seen: the number of scored rows that one of the models was trained on.
        comparison: the basis of the verdict; None for the old gate.
        attempts: the number of pairs until the true difference was large enough.
    """

    truth: float
    promoted: bool
    seen: int
    comparison: Comparison | None = None
    attempts: int = 1


Gate = Callable[[Case, np.random.Generator], Pair]


def find(case: Case, gate: Gate) -> Pair:
    """Create pairs until the true difference is at least ``POINTS`` in the case's direction; a tie is the first pair.

    Raises:
        RuntimeError: none of ``MAX_ATTEMPTS`` pairs has such a difference.
    """
    for attempt in range(MAX_ATTEMPTS):
        pair = gate(case, np.random.default_rng([case.seed, attempt]))
        sign = {"worse": -1, "better": 1, "tie": 0}[case.direction]
        if sign == 0 or sign * pair.truth >= POINTS:
            return Pair(pair.truth, pair.promoted, pair.seen, pair.comparison, attempt + 1)
    raise RuntimeError(f"no pair of {MAX_ATTEMPTS} differs by {POINTS} in {case}")


def fair_gate(case: Case, random: np.random.Generator) -> Pair:
    """The gate of this repository: the challenger inherits the champion's split."""
    world, config = World(case.kind, random), config_of(case)
    frame = world.rows(case.rows[1])
    first = split_rows(frame.head(case.rows[0]), config, None)
    second = split_rows(frame, config, first.rule)
    models = _fit(case, random, frame, ~first.mask, ~second.mask)
    registry = TwoVersions(models, (first.rule, second.rule))
    _, comparison = compare(registry, "2", second, config, {})
    # The values of a feature identify rows.
    trained_on = np.concatenate([first.train[FEATURES[0]], second.train[FEATURES[0]]])
    seen = int(np.isin(registry.asked, trained_on).sum())
    return Pair(_truth(world, *models), decide(config.gate, comparison)[0], seen, comparison)


def old_gate(case: Case, random: np.random.Generator) -> Pair:
    """The gate before stable splits: each training draws a new holdout from all rows, and both are scored on it."""
    world = World(case.kind, random)
    frame = world.rows(case.rows[1])
    held = []
    for count in case.rows:
        part = frame[TARGET].head(count)
        holdout = train_test_split(np.arange(count), test_size=SHARE, random_state=42, stratify=part)[1]
        held.append(np.isin(np.arange(count), holdout))
    models = _fit(case, random, frame, ~held[0], ~held[1])
    theirs, ours = (_accuracy(model, frame[held[1]]) for model in models)
    seen = int((~held[0] & held[1][: case.rows[0]]).sum())
    return Pair(_truth(world, *models), ours >= theirs - TOLERANCE, seen)


def config_of(case: Case) -> PipelineConfig:
    """The configuration for these rows."""
    dataset = {"group": "customer"} if case.kind == "group" else {"time": "day"} if case.kind == "time" else {}
    return PipelineConfig.model_validate(
        {
            "dataset": {
                "source": "synthetic.csv",
                "target": TARGET,
                "features": {name: {} for name in FEATURES},
                "classes": list(CLASSES),
                "min_rows_per_class": 20,
                "duplicates": "keep",
                **dataset,
            },
            "split": {"by": case.kind, "holdout_fraction": SHARE, "seed": 1},
            "gate": {"metric": "accuracy", "tolerance": TOLERANCE},
            "report": [],
        }
    )


def _fit(
    case: Case, random: np.random.Generator, frame: pd.DataFrame, old_rows: Mask, new_rows: Mask
) -> tuple[ClassifierMixin, ClassifierMixin]:
    """The champion, fitted on some of the old rows, and the challenger on some of all rows; masks over both."""
    labels = frame[TARGET].to_numpy(dtype=object)
    theirs, ours = labels.copy(), labels.copy()
    if case.cause == "labels" and case.direction == "worse":
        # The labels of the challenger's new training rows are permuted.
        joined = new_rows.copy()
        joined[: len(old_rows)] &= ~old_rows
        following = dict(zip(CLASSES, (*CLASSES[1:], CLASSES[0]), strict=True))
        ours[joined] = [following[label] for label in labels[joined]]
    elif case.cause == "labels" and case.direction == "better":
        # Labels were wrong when the champion was trained, and are corrected for the challenger.
        wrong = random.random(len(labels)) < WRONG_LABELS
        theirs[wrong] = random.choice(CLASSES, int(wrong.sum()))
    features = frame[list(FEATURES)]
    champion = _learner(case, int(old_rows.sum()), right=case.direction != "better")
    challenger = _learner(case, int(new_rows.sum()), right=case.direction != "worse")
    places = np.flatnonzero(old_rows)
    champion.fit(features.iloc[places], theirs[places])
    return champion, challenger.fit(features[new_rows], ours[new_rows])


def _learner(case: Case, rows: int, *, right: bool) -> ClassifierMixin:
    if case.cause == "underfitting":
        return LogisticRegression(C=1.0 if right else WRONG_STRENGTH / rows)
    trees = 1 if case.cause == "overfitting" and not right else TREES
    return RandomForestClassifier(trees, bootstrap=trees > 1, random_state=case.seed)


def _truth(world: World, champion: ClassifierMixin, challenger: ClassifierMixin) -> float:
    fresh = world.rows(FRESH_ROWS)
    return _accuracy(challenger, fresh) - _accuracy(champion, fresh)


def _accuracy(model: ClassifierMixin, rows: pd.DataFrame) -> float:
    return float(model.score(rows[list(FEATURES)], rows[TARGET]))
