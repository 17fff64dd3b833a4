"""Decides about a version that answers rows before a promotion: by its rows, and by the labels so far."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

from src.core.errors import LoopError
from src.core.evidence import NOT_WORSE_ALPHA, evidence_not_worse
from src.core.rollout_findings import in_words
from src.core.rollout_record import Rollout, RolloutState
from src.quality.labelled import Pairs
from src.quality.watch import Watch

Decide = Callable[[Rollout, str], None]


@dataclass(frozen=True)
class ChallengerWatch:
    """Decides about the waiting version of one model.

    A shadow is rejected as soon as its labels prove that it is worse, by the test of a promotion's watch. Without such
    a proof, it is approved after ``minimum_rows``, or left to a person, as its record says. What the labels prove of a
    canary is recorded: inference promotes or aborts it (``src.core.canary_end``).

    Attributes:
        watch: of a promotion, with the records and the test.
        approve: makes the version champion, for a reason; raises LoopError where it cannot.
        reject: aborts the version, likewise.
    """

    watch: Watch
    approve: Decide
    reject: Decide

    def waiting(self) -> Rollout | None:
        """The canary, or the version that answers rows as a shadow, or will do so after the watch of a promotion."""
        waiting = self.watch.rollouts.waiting(self.watch.model)
        return waiting if waiting is not None and (waiting.is_shadowed or waiting.is_canary) else None

    def step(self, rollout: Rollout, pairs: Pairs, answered: int) -> list[str]:
        """Judge a version by its rows and labels so far; return sentences for people.

        Args:
            rollout: its record.
            pairs: labelled rows that it and the champion have answered.
            answered: rows that it has answered as a shadow, as far as the log still has them.

        Raises:
            OSError, SpoolFullError: the record cannot be changed.
        """
        if rollout.state is RolloutState.CANARY:
            self._judge_canary(rollout, pairs)
            return []
        rollouts, verdict = self.watch.rollouts, self.watch.verdict(rollout, pairs)
        rollout = rollout.model_copy(update={"shadowed": max(rollout.shadowed, answered)})
        if not rollouts.note(rollout, shadowed=rollout.shadowed, **asdict(verdict)):
            return []  # it was decided about meanwhile
        finding = in_words(rollout, verdict)
        doubt = self.watch.doubt(pairs) if verdict.is_worse else None
        if doubt is not None:
            rollouts.hinder(rollout, f"{finding}; {doubt}: a person decides")
            return []
        if verdict.is_worse:
            return _tried(self.reject, rollout, finding, "rejected")
        if rollout.approval == "automatic" and rollout.has_its_rows:
            return _tried(self.approve, rollout, finding, "approved")
        return []

    def _judge_canary(self, rollout: Rollout, pairs: Pairs) -> None:
        verdict = self.watch.verdict(rollout, pairs)
        doubt = self.watch.doubt(pairs) if verdict.is_worse else None
        if doubt is not None:  # before the proof is recorded, which would abort it
            self.watch.rollouts.hinder(rollout, f"{in_words(rollout, verdict)}; {doubt}: a person decides")
        found = asdict(verdict)
        margin = rollout.canary.max_drop if rollout.canary is not None else None
        # A proof stays one when the log deletes rows on which it rests.
        if margin is not None and not rollout.is_not_worse:
            evidence = evidence_not_worse(self.watch.advantages(pairs), margin)
            found |= {"e_not_worse": evidence, "is_not_worse": evidence >= 1 / NOT_WORSE_ALPHA}
        self.watch.rollouts.note(rollout, **found)


def _tried(decide: Decide, rollout: Rollout, reason: str, done: str) -> list[str]:
    """Carry out a decision; the next step tries again if it fails."""
    try:
        decide(rollout, reason)
    except LoopError as error:
        return [f"{reason}; version {rollout.version} cannot be {done}: {error}"]
    return []
