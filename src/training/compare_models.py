"""Compares a new version with the champion and the best former champion on rows that none was trained on."""

import logging
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.core.counting import counted
from src.core.errors import ConfigError, InvalidModelError, OtherCodeError
from src.core.model_registry import BEST, CHAMPION
from src.core.pipeline_config import PipelineConfig
from src.training.answers import Answers
from src.training.calibrate import calibrate
from src.training.compared_rows import Choice, baseline_target, choose_rows
from src.training.comparison import Comparison
from src.training.compatibility import breaking_changes
from src.training.evaluate_model import Evaluation, Material, answers_of, judge
from src.training.registry import FetchedModel, ModelRegistry
from src.training.scoring import Metric, metrics_of, scores_of
from src.training.seen_rows import unseen_rows
from src.training.splitting import Split, clusters
from src.training.version_history import best_version

# Fewer rows are not enough for a comparison, unless they are the whole holdout.
MIN_ROWS = 30
NAMES = {CHAMPION: "the champion", BEST: "the best former champion"}

logger = logging.getLogger(__name__)


def compare(
    registry: ModelRegistry, version: str, split: Split, config: PipelineConfig, own_metrics: Mapping[str, Metric]
) -> tuple[Evaluation, Comparison]:
    """Score a new version, the champion and the best former champion on the same rows, as serving loads them.

    With a champion, these are the labelled live rows of the holdout where there are enough, as they show what
    production sees now. Each version gets its own columns. Where the champion cannot be compared (it is damaged, it has
    other classes, or too few rows are known to be new to it), only the floor and the best answer without features
    decide.

    Args:
        registry: holds the versions.
        version: the challenger.
        split: the data set, and which of its rows the challenger was not trained on.
        config: the pipeline's configuration.
        own_metrics: the adopter's metrics by name.

    Raises:
        InvalidModelError: the challenger cannot be scored.
        ConfigError: a metric is unknown or fails.
    """
    metrics, target = metrics_of(config, own_metrics), config.dataset.target
    challenger = registry.fetch(version)
    rivals = Rivals(registry, challenger, split, config)
    found = registry.version_of(CHAMPION)
    champion, best = None if found is None else str(found.version), best_version(registry)
    if champion is not None:
        rivals.add(CHAMPION, champion)
    if best is not None and best not in {champion, version}:
        rivals.add(BEST, best)
    chosen = Choice(rivals.mask) if champion is None else choose_rows(split, rivals.mask, config.dataset)
    rows = split.holdout[chosen.mask].reset_index(drop=True)
    answers = rivals.answers(rows, metrics)
    train_target = baseline_target(split, target, live=chosen.live)
    material = Material(config, metrics, train_target, rows, clusters(split.rule, rows))
    evaluation, comparison = judge(answers_of(challenger, rows, target), answers, material)
    if evaluation.classes:
        features = rows[list(config.dataset.features)]
        calibration = calibrate(evaluation.answers, features, material.clusters, evaluation.scores)
        evaluation = replace(evaluation, calibration=calibration)
    known = {
        "basis": "; ".join(filter(None, (rivals.basis(answers), chosen.note))),
        "live_days": config.dataset.feedback.max_age_days if chosen.live else None,
        "champion_version": champion,
        "champion_problem": rivals.problems.get(CHAMPION),
        "champion_of_other_code": CHAMPION in rivals.of_other_code,
        "breaking": rivals.breaking,
        "best_unscored": (CHAMPION if best == champion else BEST) in rivals.problems.keys() - rivals.incomparable,
    }
    return evaluation, comparison.model_copy(update=known)


class Rivals:
    """The versions that a challenger can be compared with, and the holdout rows for the comparison.

    Attributes:
        mask: (n,) the rows of the holdout on which all versions can be compared.
        breaking: the breaking changes of the challenger for the champion's callers.
        problems: by alias, why a version is not compared.
        of_other_code: the aliases of versions with classes of another ``src/pipeline``.
        incomparable: the aliases of versions that later runs cannot compare either: their columns or classes differ,
            they run other code, or their training rows are unknown.
    """

    def __init__(self, registry: ModelRegistry, challenger: FetchedModel, split: Split, config: PipelineConfig) -> None:
        self._registry = registry
        self._challenger = challenger
        self._split = split
        self._config = config
        self._models: dict[str, FetchedModel] = {}
        self._reasons: list[str] = []
        self.mask: NDArray[np.bool_] = np.ones(len(split.holdout), dtype=bool)
        self.breaking: tuple[str, ...] = ()
        self.problems: dict[str, str] = {}
        self.of_other_code: set[str] = set()
        self.incomparable: set[str] = set()

    def add(self, alias: str, version: str) -> None:
        """Add a version if it can be compared, and restrict the rows to those on which it can be compared."""
        try:
            if alias == CHAMPION:
                # First, because a champion that cannot be loaded here still has callers.
                self.breaking = breaking_changes(self._registry.contract(version), self._challenger.contract)
            model = self._registry.fetch(version)
        except InvalidModelError as error:
            if isinstance(error, OtherCodeError):
                self.of_other_code.add(alias)
                self.incomparable.add(alias)
            self._leave_out(alias, str(error))
            return
        holdout, classes = self._split.holdout, model.engine.classes
        gone = [name for name in model.schema.names if name not in holdout.columns]
        if gone or set(classes) != set(self._challenger.engine.classes):
            self.incomparable.add(alias)
        if gone:
            self._leave_out(alias, f"version {version} takes columns that no longer exist: {', '.join(gone)}")
        elif set(classes) != set(self._challenger.engine.classes):
            self._leave_out(alias, f"version {version} answers with {', '.join(classes) or 'numbers'}")
        else:
            self._narrow(alias, model)

    def answers(self, rows: pd.DataFrame, metrics: Mapping[str, Metric]) -> dict[str, Answers]:
        """Each version's answers to the rows, by alias; a version that fails or cannot be scored is left out."""
        answers, dataset = {}, self._config.dataset
        for alias, model in self._models.items():
            try:
                found = answers_of(model, rows, dataset.target)
                scores_of(metrics, found.among(tuple(sorted(dataset.classes or ()))))
            except InvalidModelError as error:
                self._leave_out(alias, str(error))
            except ConfigError as error:  # an own metric; if it fails for the challenger too, judge raises
                self._leave_out(alias, f"version {model.version} cannot be scored: {error}")
            else:
                answers[alias] = found
        return answers

    def basis(self, answers: Mapping[str, Answers]) -> str:
        """Which rows were scored, to follow the words "on n rows"."""
        who = ("it", "neither", "none of the three")[len(answers)]
        basis = f"that {who} was {'not ' if not answers else ''}trained on"
        if self._reasons:
            basis += f" ({'; '.join(dict.fromkeys(self._reasons))})"
        if BEST in self.problems:
            basis += f"; {NAMES[BEST]} is not compared: {self.problems[BEST]}"
        return basis

    def _narrow(self, alias: str, model: FetchedModel) -> None:
        dataset, holdout = self._config.dataset, self._split.holdout
        unseen = unseen_rows(self._registry, model, self._split, dataset, self._challenger.version)
        if unseen.mask is None:
            self.incomparable.add(alias)
            self._leave_out(alias, unseen.why)
            return
        required = [column.name for column in model.schema.columns if column.required]
        answerable = holdout[required].notna().all(axis=1).to_numpy()
        mask = self.mask & unseen.mask & answerable
        left_out = int((self.mask & unseen.mask & ~answerable).sum())
        problem = self._too_few(mask)
        if problem:
            self._leave_out(alias, f"{problem} ({unseen.why})")
            return
        self.mask = mask
        self._models[alias] = model
        self._reasons.append(unseen.why)
        if left_out:
            self._reasons.append(
                f"{counted(left_out, 'row')} without a value that version {model.version} requires not counted"
            )

    def _too_few(self, mask: NDArray[np.bool_]) -> str | None:
        """Why these rows of the holdout are not enough for a comparison; None where they are."""
        count = int(mask.sum())
        if count < MIN_ROWS and not mask.all():
            return (
                f"only {counted(count, 'holdout row')} new to it and with the values that it requires; "
                f"{MIN_ROWS} are needed"
            )
        there = set(self._split.holdout[self._config.dataset.target][mask])
        missing = [name for name in self._config.dataset.classes or [] if name not in there]
        if missing:
            return f"the {count} holdout rows that are new to it lack the class {', '.join(missing)}"
        return None

    def _leave_out(self, alias: str, problem: str) -> None:
        logger.warning("%s is not compared: %s", NAMES[alias], problem)
        self.problems[alias] = problem
