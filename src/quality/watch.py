"""Watches a promotion: compares the promoted version with the previous one on labelled rows, and ends the watch."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import numpy as np

from src.core.errors import LoopError
from src.core.evidence import LABELS_ALPHA, Floats, Verdict, judge
from src.core.rollout_findings import WITHOUT_LOG, in_words
from src.core.rollout_record import Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.quality.advantages import class_advantages, number_advantages
from src.quality.labelled import Pairs, numbers_of

# A version that is worse by less is kept: one point of accuracy.
LEAST_DROP = 0.01
# How long after the end of a watch a rollback that fails is still requested.
GRACE = timedelta(hours=1)
WATCHER = "quality service"


@dataclass(frozen=True)
class Watch:
    """Decides about the watched promotion of one model.

    Attributes:
        rollouts: the records of promotions.
        model: the registered model's name.
        by_class: whether predictions are classes, or numbers.
        by_gate: scores both versions by the gate's metric, the new one first, the sign such that greater is better;
            None where it cannot be computed.
        roll_back: makes the previous version champion again, for a reason; raises LoopError where it cannot.
    """

    rollouts: Rollouts
    model: str
    by_class: bool
    by_gate: Callable[[Pairs], tuple[float, float] | None]
    roll_back: Callable[[Rollout, str], None]

    def watched(self) -> Rollout | None:
        """The promotion that is being watched."""
        return self.rollouts.watched(self.model)

    def step(self, rollout: Rollout, pairs: Pairs, now: datetime) -> list[str]:
        """Judge a promotion by its labels so far; return sentences for people.

        A proof stays one when the log deletes rows on which it rests.

        Raises:
            OSError, SpoolFullError: the record cannot be changed.
        """
        verdict = self.verdict(rollout, pairs)
        if not self.rollouts.note(rollout, **asdict(verdict)):
            return []  # the watch has ended meanwhile
        finding = in_words(rollout, verdict)
        obstacle = self._obstacle(rollout, pairs) if verdict.is_worse else None
        if verdict.is_worse and obstacle is None:
            return self._roll_back(rollout, finding, now)
        found = [f"{finding}; {obstacle}"] if obstacle else []
        if rollout.finding:
            hindrance = self.rollouts.obstacle(rollout) or "its rollback has not succeeded yet"
            found.append(f"{rollout.finding}; {hindrance}")
        if now >= rollout.until:
            reason = "; ".join(found or [finding])
            self.rollouts.end(rollout.id, RolloutState.KEPT, now=now, by=WATCHER, reason=reason)
        return [f"{text}: check it, and roll back with POST /rollback if it is so" for text in found]

    def verdict(self, rollout: Rollout, pairs: Pairs) -> Verdict:
        """What the labels so far say of a version; a proof that is recorded stays one."""
        verdict = judge(self.advantages(pairs), LABELS_ALPHA, LEAST_DROP)
        if rollout.is_worse and not verdict.is_worse:
            return Verdict(is_worse=True, rows=rollout.rows, drop=rollout.drop, e_value=rollout.e_value)
        return verdict

    def doubt(self, pairs: Pairs) -> str | None:
        """Why a version that is proved worse by its labels may not be worse by ``gate.metric``."""
        # What is proved is about accuracy. The gate may have passed the version for another merit.
        scores = self.by_gate(pairs)
        if scores is None:
            return "gate.metric cannot be computed on these rows"
        return None if scores[0] < scores[1] else "by gate.metric it is not"

    def advantages(self, pairs: Pairs) -> Floats:
        """The advantages of the new version, in the order in which the labels arrived."""
        if self.by_class:
            return class_advantages(pairs.truth, pairs.new, pairs.previous)
        numbers = [numbers_of(column) for column in (pairs.truth, pairs.new, pairs.previous)]
        usable = np.logical_and.reduce([np.isfinite(column) for column in numbers])
        truth, new, previous = (column[usable] for column in numbers)
        return number_advantages(truth, new, previous)

    def _obstacle(self, rollout: Rollout, pairs: Pairs) -> str | None:
        """Why this version is not rolled back without a person, if so."""
        return self.rollouts.obstacle(rollout) or self.doubt(pairs)

    def _roll_back(self, rollout: Rollout, reason: str, now: datetime) -> list[str]:
        # First: a rollback whose answer is lost counts as an automatic one.
        self.rollouts.request(rollout.id)
        try:
            self.roll_back(rollout, reason)
        except LoopError as error:
            failed = f"{reason}, and cannot be rolled back: {error}"
            if now >= rollout.until + GRACE:
                # Or else it would be rolled back whenever a person makes it champion again.
                self.rollouts.end(rollout.id, RolloutState.KEPT, now=now, by=WATCHER, reason=failed)
            return [failed]
        return []


def end_without_log(rollouts: Rollouts, model: str, now: datetime) -> None:
    """End the watch of a model at its time while the prediction log is off: the version is kept.

    A version that has to answer rows before a promotion is left to a person.

    Raises:
        OSError, SpoolFullError: the record cannot be changed.
    """
    waiting, rollout = rollouts.waiting(model), rollouts.watched(model)
    if waiting is not None and (waiting.is_shadowed or waiting.state is RolloutState.CANARY):
        rollouts.hinder(waiting, f"{WITHOUT_LOG}: a person decides")
    if rollout is not None and now >= rollout.until:
        so_far = f"only {rollout.rows:,} labelled rows were compared" if rollout.rows else "nothing was compared"
        reason = f"{so_far}, because the prediction log is off (PREDICTION_LOG=false)"
        rollouts.end(rollout.id, RolloutState.KEPT, now=now, by=WATCHER, reason=reason)
