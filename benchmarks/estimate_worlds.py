"""The worlds of ``make measure-estimate``: rows, classes, the models that learn them, and what changes later."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from benchmarks.estimate_choice import CHOICE_RELATIONS, CHOICE_SHIFTS
from src.core.calibration import Calibration
from src.core.pipeline_config import PipelineConfig
from src.quality.estimate import answerable, estimated_scores
from src.quality.labelled import Labelled
from src.services.quality.scorer import LiveScorer
from src.training.answers import Answers
from src.training.calibrate import calibrate
from src.training.scoring import metrics_of, scores_of

TRAINING_ROWS, HOLDOUT_ROWS, WINDOW_ROWS = 5000, 2000, 1000
COLUMNS = [f"x{number}" for number in range(6)]
METRICS = ("accuracy", "f1_macro")
Floats = NDArray[np.float64]


def linear(rows: Floats, classes: int) -> Floats:
    """(n, classes) log odds that a logistic regression can learn."""
    slopes = np.array([1.5, -1.0, 0.7, 0.5, 0.0, 0.0])
    found = [rows @ np.roll(slopes, 2 * place) for place in range(classes - 1)]
    return np.column_stack([*found, np.zeros(len(rows))])


def curved(rows: Floats, classes: int) -> Floats:
    """(n, classes) log odds with waves, products and squares, which trees can learn."""
    first = 2.4 * np.sin(1.5 * rows[:, 0]) + 1.8 * rows[:, 1] * rows[:, 2] + 1.2 * np.abs(rows[:, 3]) - 0.9
    second = 2.0 * rows[:, 1] - rows[:, 0] ** 2 / 2
    return np.column_stack([*(first, second)[: classes - 1], np.zeros(len(rows))])


def same(rows: Floats, _: np.random.Generator) -> Floats:
    """Rows like those of the holdout."""
    return rows


def moved_up(rows: Floats, _: np.random.Generator) -> Floats:
    """A column that is higher by its standard deviation."""
    return np.asarray(rows + np.eye(rows.shape[1])[0])


def moved_down(rows: Floats, _: np.random.Generator) -> Floats:
    """A column that is lower by its standard deviation."""
    return np.asarray(rows - np.eye(rows.shape[1])[0])


def half_ordinary(rows: Floats, random: np.random.Generator) -> Floats:
    """Half of the rows with two columns near their means."""
    return _ordinary(rows, random.random(len(rows)) < 0.5)  # noqa: PLR2004 - half


def most_ordinary(rows: Floats, random: np.random.Generator) -> Floats:
    """Nine of ten rows with two columns near their means."""
    return _ordinary(rows, random.random(len(rows)) < 0.9)  # noqa: PLR2004 - nine of ten


def spread(rows: Floats, _: np.random.Generator) -> Floats:
    """All columns 1.5 times as spread: many rows are beyond those that the model has learned from."""
    return 1.5 * rows


def _ordinary(rows: Floats, mask: NDArray[np.bool_]) -> Floats:
    return np.where(mask[:, None] & (np.arange(rows.shape[1]) < 2), 0.3 * rows, rows)  # noqa: PLR2004 - two columns


RELATIONS = {"linear": linear, "curved": curved}
MODELS: dict[str, Callable[[int], Any]] = {
    "logistic regression": lambda _: LogisticRegression(),
    "random forest": lambda seed: RandomForestClassifier(100, min_samples_leaf=3, random_state=seed),
    "gradient boosting": lambda seed: GradientBoostingClassifier(subsample=0.5, max_depth=4, random_state=seed),
}
NONE = "none"
SHIFTS: dict[str, Callable[[Floats, np.random.Generator], Floats]] = {
    NONE: same,
    "a column higher by 1 sd": moved_up,
    "a column lower by 1 sd": moved_down,
    "half of the rows ordinary": half_ordinary,
    "nine of ten rows ordinary": most_ordinary,
}
BEYOND = "beyond the known rows"
CONCEPT = "another relation"
# The share of the rows whose class is drawn anew under a concept shift.
REDRAWN = 0.2


@dataclass(frozen=True)
class Case:
    """What is learned, and by which model."""

    relation: str
    classes: int
    model: str


@dataclass(frozen=True)
class Found:
    """A window: its estimate by one metric, beside what the labels show and the holdout's score."""

    case: Case
    shift: str
    metric: str
    estimate: float
    covered: bool
    realised: float
    holdout: float


def config_of(classes: int) -> PipelineConfig:
    """The configuration of a data set with so many classes."""
    dataset = {
        "source": "synthetic.csv",
        "target": "y",
        "classes": [f"c{place}" for place in range(classes)],
        "features": {name: {} for name in COLUMNS},
        "min_rows_per_class": 20,
        "duplicates": "keep",
    }
    return PipelineConfig.model_validate(
        {
            "dataset": dataset,
            "split": {"by": "hash", "holdout_fraction": 0.2, "seed": 1},
            "gate": {"metric": METRICS[0], "tolerance": 0.0},
            "report": list(METRICS[1:]),
        }
    )


def draw_classes(relation: str, rows: Floats, classes: int, random: np.random.Generator) -> NDArray[Any]:
    """(n,) class names."""
    odds = np.exp({**RELATIONS, **CHOICE_RELATIONS}[relation](rows, classes))
    limits = (odds / odds.sum(axis=1, keepdims=True)).cumsum(axis=1)[:, :-1]
    names = np.array([f"c{place}" for place in range(classes)])
    return np.asarray(names[(random.random((len(rows), 1)) >= limits).sum(axis=1)])


class Trained:
    """A model with its calibration.

    Args:
        case: what is learned.
        seed: of all draws.
    """

    def __init__(self, case: Case, seed: int) -> None:
        self.case = case
        self.random = np.random.default_rng(seed)
        config = config_of(case.classes)
        self.scorer = LiveScorer(config, {})
        self.metrics = metrics_of(config, {})
        rows = self.random.normal(size=(TRAINING_ROWS, len(COLUMNS)))
        self.model = MODELS[case.model](seed).fit(rows, draw_classes(case.relation, rows, case.classes, self.random))
        rows = self.random.normal(size=(HOLDOUT_ROWS, len(COLUMNS)))
        answers = self.answers(rows, draw_classes(case.relation, rows, case.classes, self.random))
        self.scores = scores_of(self.metrics, answers)
        features = pd.DataFrame(rows, columns=COLUMNS)
        self.calibration: Calibration = calibrate(answers, features, np.arange(HOLDOUT_ROWS), self.scores)

    def answers(self, rows: Floats, truth: NDArray[Any]) -> Answers:
        """The model's answers to rows, rounded as the log has them."""
        shares = self.model.predict_proba(rows).round(5)
        classes = tuple(self.model.classes_.tolist())
        shares /= shares.sum(axis=1, keepdims=True)
        return Answers("1", classes, truth, self.model.classes_[shares.argmax(axis=1)], shares)

    def window(self, shift: str) -> Iterator[Found]:
        """A window's estimates."""
        rows = self.random.normal(size=(WINDOW_ROWS, len(COLUMNS)))
        rows = {**SHIFTS, **CHOICE_SHIFTS, BEYOND: spread, CONCEPT: same}[shift](rows, self.random)
        truth = draw_classes(self.case.relation, rows, self.case.classes, self.random)
        if shift == CONCEPT:
            chance = self.random.choice(np.unique(truth), WINDOW_ROWS)
            truth = np.where(self.random.random(WINDOW_ROWS) < REDRAWN, chance, truth)
        answers = self.answers(rows, truth)
        assert answers.probabilities is not None  # noqa: S101 - all models have them
        logged = Labelled(
            version="1",
            truth=answers.values,
            predictions=answers.values,
            classes=answers.classes,
            probabilities=answers.probabilities,
            weights=np.ones(WINDOW_ROWS),
            keys=np.arange(WINDOW_ROWS),
        )
        realised = scores_of(self.metrics, answers)
        found = estimated_scores(answerable(logged, self.calibration), self.calibration, self.scorer)
        for name, score in found.items():
            assert score.low is not None  # noqa: S101 - estimates have intervals
            assert score.high is not None  # noqa: S101 - as above
            covered = score.low <= realised[name] <= score.high
            yield Found(self.case, shift, name, score.value, covered, realised[name], self.scores[name])
