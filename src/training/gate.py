"""The gate's rule and its verdict: whether a challenger is promoted, and why."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from src.core.counting import counted
from src.core.gate_config import GateConfig
from src.core.retrain_record import Outcome, RetrainResult, Scores, Step
from src.training.comparison import Comparison, Difference, SliceScore

# Scores that differ by rounding only are equal.
ROUNDING = 1e-9
# From this value on, scores are shown with six significant digits instead of four decimals.
LARGE = 100


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Candidate(_Frozen):
    """A newly registered version that is not served yet."""

    model_version: str
    mlflow_run_id: str
    fingerprint: str


class Verdict(_Frozen):
    """The gate's decision about a candidate, with the scores."""

    outcome: Literal[Outcome.PROMOTED, Outcome.PASSED, Outcome.REJECTED]
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
    """Whether the challenger is promoted, and why: first every rule that it violates, then the scores."""
    problems = [
        *_contract_problems(gate, comparison),
        *_level_problems(gate, comparison),
        *_rival_problems(gate, comparison),
        *_slice_problems(comparison),
    ]
    return not problems, "; ".join([*problems, *_figures(gate, comparison)])


def _contract_problems(gate: GateConfig, comparison: Comparison) -> Iterator[str]:
    if comparison.breaking and not gate.allow_breaking:
        yield f"breaks the champion's callers, which gate.allow_breaking does not allow: {_joined(comparison.breaking)}"
    if comparison.repeats is not None:
        yield (
            f"has the same data, settings and code as version {comparison.repeats}, which was rolled back: "
            "change one of them, or roll back to return to it"
        )


def _level_problems(gate: GateConfig, comparison: Comparison) -> Iterator[str]:
    """The rules that the challenger's own scores violate."""
    for metric, limit in ({gate.metric: gate.floor} | gate.minimums).items():
        score, sign = comparison.challenger.get(metric), comparison.sign(metric)
        if score is None:
            yield f"{metric} is not defined on these rows"
        elif limit is not None and sign * score < sign * limit - ROUNDING:
            what = "floor" if metric == gate.metric else "minimum"
            yield f"{metric} {number(score)} is {'above' if sign < 0 else 'below'} the {what} {limit:g}"
    baseline = comparison.baseline
    if baseline is not None and comparison.sign(gate.metric) * baseline.difference.bound < ROUNDING:
        bound = f"the one-sided 95 % bound of the difference is {baseline.difference.bound:+.4f}"
        yield f"does not beat {baseline.name} with {gate.metric} {number(baseline.score)}: {bound}"
    if comparison.baselines_undefined and gate.floor is None:
        yield (
            f"cannot be compared with a constant answer, for which {gate.metric} is undefined: set gate.floor to the "
            "lowest score that may be served"
        )


def _rival_problems(gate: GateConfig, comparison: Comparison) -> Iterator[str]:
    metric, sign = gate.metric, comparison.sign(gate.metric)
    score = comparison.challenger.get(metric)
    rivals = (
        (f"champion version {comparison.champion_version}", comparison.champion),
        (f"the best former champion, version {comparison.best_version},", comparison.best),
    )
    for name, scores in rivals:
        theirs = None if scores is None else scores.get(metric)
        if score is not None and theirs is not None and sign * (score - theirs) < -gate.tolerance - ROUNDING:
            yield f"worse than {name} by more than the tolerance {gate.tolerance:g}"
    # Any edit would otherwise promote what beats a constant answer.
    unlimited = gate.floor is None and not gate.allow_breaking
    if comparison.champion_of_other_code and comparison.best is None and unlimited:
        yield (
            f"cannot be compared with champion version {comparison.champion_version}, whose classes of src/pipeline "
            "have changed: set gate.floor to the lowest score that may be served, or gate.allow_breaking: true for "
            "one training, or restore the code"
        )
    difference = comparison.champion_difference
    if gate.confidence is None or difference is None:
        return
    if sign * difference.bound <= -gate.tolerance + ROUNDING:
        limit = f"lies {'below' if sign > 0 else 'above'} {0.0 - sign * gate.tolerance:g}"
        yield (
            f"not shown to be as good as the champion: the one-sided {gate.confidence * 100:g} % bound of the "
            f"difference, {difference.bound:+.4f}, {limit}"
        )


def _slice_problems(comparison: Comparison) -> Iterator[str]:
    worse = [found for found in comparison.slices if found.worse]
    if worse:
        more = f" (and in {counted(len(worse) - 1, 'more slice')})" if len(worse) > 1 else ""
        yield f"significantly worse than the champion where {_slice(_worst(worse))}{more}"


def _figures(gate: GateConfig, comparison: Comparison) -> Iterator[str]:
    """The scores behind the verdict."""
    metric = gate.metric
    limits = ["lower is better"] if comparison.sign(metric) < 0 else []
    if gate.floor is not None:
        limits.append(f"floor {gate.floor:g}")
    if comparison.baseline is not None:
        limits.append(f"best answer without features {number(comparison.baseline.score)}")
    yield f"{metric} {number(comparison.challenger.get(metric))}" + (f" ({', '.join(limits)})" if limits else "")
    days = comparison.live_days
    kind = "rows" if days is None else f"labelled live rows of the last {days:g} days"
    rows = "" if comparison.rows is None else f" on {comparison.rows} {kind} {comparison.basis}".rstrip()
    if comparison.champion is not None:
        champion = f"champion version {comparison.champion_version} has {number(comparison.champion.get(metric))}"
        yield f"{champion}{_difference(comparison.champion_difference)}{rows}"
    else:
        problem = comparison.champion_problem
        alone = "" if comparison.best is not None else ", so only the floor and the best answer without features decide"
        yield f"the champion could not be scored{alone}: {problem}" if problem else "there is no champion yet"
        if rows:
            yield f"scored{rows}"
    if comparison.best is not None:
        best = f"version {comparison.best_version}, the best former champion, has {number(comparison.best.get(metric))}"
        yield f"{best}{_difference(comparison.best_difference)}"
    compared = [found for found in comparison.slices if found.p_value is not None]
    if compared and not any(found.worse for found in compared) and abs(_worst(compared).difference or 0.0) > ROUNDING:
        yield f"worst slice: {_slice(_worst(compared))}"
    if comparison.breaking and gate.allow_breaking:
        yield f"breaking changes, as gate.allow_breaking allows: {_joined(comparison.breaking)}"


def _worst(slices: list[SliceScore]) -> SliceScore:
    """The slice with the smallest p-value."""
    return min(slices, key=lambda found: 1.0 if found.p_value is None else found.p_value)


def _slice(found: SliceScore) -> str:
    scores = f"{number(found.challenger)} against {number(found.champion)}"
    p_value = "" if found.p_value is None else f", p = {found.p_value:.2g}"
    return f"{found.column} is {found.value}: {scores} on {counted(found.rows, 'row')}{p_value}"


def _difference(found: Difference | None) -> str:
    if found is None:
        return ""
    return f": difference {found.point:+.4f} (95 % interval {found.low:+.4f} to {found.high:+.4f})"


def _joined(sentences: tuple[str, ...]) -> str:
    return ", ".join(sentence.rstrip(".") for sentence in sentences)


def number(value: float | None) -> str:
    """A score for messages; None is undefined."""
    if value is None:
        return "undefined"
    return f"{value:.4f}" if abs(value) < LARGE else f"{value:.6g}"
