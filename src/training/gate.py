"""The gate's rule and its verdict: whether a challenger may serve, and why."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from src.core.gate_config import GateConfig
from src.core.retrain_record import Outcome, RetrainResult, Scores, Step

# Scores that differ by rounding only are equal.
ROUNDING = 1e-9


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Candidate(_Frozen):
    """A newly registered version that nobody serves yet."""

    model_version: str
    mlflow_run_id: str
    manifest_sha256: str
    data_sha256: str


class Comparison(_Frozen):
    """Challenger and champion, scored on the same holdout.

    ``champion`` is None where there is no champion or, with ``champion_problem`` saying why, it cannot be scored;
    ``champion_differs`` tells that it is sound and has other columns or classes.
    """

    challenger: Scores
    champion: Scores | None = None
    champion_version: str | None = None
    champion_problem: str | None = None
    champion_differs: bool = False


class Verdict(_Frozen):
    """What the gate decided about one candidate, and on which scores."""

    outcome: Literal[Outcome.PROMOTED, Outcome.REJECTED]
    reason: str
    model_name: str
    model_version: str
    mlflow_run_id: str
    challenger: Scores
    champion: Scores | None = None

    def to_result(self, finished_at: datetime, step_seconds: Mapping[Step, float]) -> RetrainResult:
        """The outcome of the retrain requests that this run served, with its steps' durations."""
        return RetrainResult(**self.model_dump(), step_seconds=dict(step_seconds), finished_at=finished_at)


def decide(gate: GateConfig, comparison: Comparison) -> tuple[bool, str]:
    """Whether the challenger may serve, and why."""
    metric = gate.metric
    challenger = comparison.challenger[metric]
    if gate.floor is not None and challenger < gate.floor - ROUNDING:
        return False, f"{metric} {challenger:.4f} is below the floor {gate.floor:.4f}"
    floor = "there is no floor" if gate.floor is None else f"reaches the floor {gate.floor:.4f}"
    above = f"{metric} {challenger:.4f} {floor}"
    if comparison.champion_differs:
        # Whoever calls the served model would be refused by this one.
        return False, (
            f"the champion is a model of something else: {comparison.champion_problem}; "
            "give this one a MODEL_NAME of its own, or take the champion alias away"
        )
    if comparison.champion is None:
        if comparison.champion_problem:
            return True, f"{above}; the champion could not be scored: {comparison.champion_problem}"
        return True, f"{above}; there is no champion yet"
    champion = comparison.champion[metric]
    against = f"the champion's {champion:.4f} (version {comparison.champion_version}) less {gate.tolerance:.4f}"
    if challenger < champion - gate.tolerance - ROUNDING:
        return False, f"{metric} {challenger:.4f} is below {against}"
    return True, f"{metric} {challenger:.4f} is not below {against}"
