"""Retraining on the page: the newest requests, their states and outcomes."""

from collections.abc import Container
from dataclasses import dataclass, replace
from datetime import datetime

from src.core.retrain_record import RetrainRecord, State, Step
from src.services.inference.page.formatting import Moment, coarsely, lasting, moment
from src.services.inference.page.links import Links
from src.serving.models.model_version import ModelVersion
from src.serving.models.predictor import Predictor

SHOWN = 8
OPEN = (State.QUEUED, State.RUNNING)
SOURCES = {"api": "on request", "alert": "by an alert", "schedule": "by a schedule", "bootstrap": "as the first one"}


@dataclass(frozen=True)
class Run:
    """One request.

    Attributes:
        steps: the states so far (queued, running, the outcome); the last one is the current state.
        asked: what requested the training.
        took: how long the training took, or has taken so far.
        reason: the verdict's, or the last error's.
        doing: the training's current step and what it does.
        other_model: the registered model that the version belongs to, if it is not this one.
        served: whether its version is the one that is served.
        taken_back: whether its version was rolled back.
    """

    id: str
    state: str
    steps: list[str]
    is_open: bool
    asked: str
    requested: Moment | None
    took: str | None
    attempts: int
    reason: str | None
    version: str | None
    version_link: str | None
    run_link: str | None
    served: bool
    other_model: str | None = None
    taken_back: bool = False
    doing: str | None = None


@dataclass(frozen=True)
class History:
    """The newest requests, newest first, or why they cannot be read."""

    runs: list[Run]
    problem: str | None = None

    @property
    def is_moving(self) -> bool:
        """Whether any request waits or runs."""
        return any(run.is_open for run in self.runs)

    def marking(self, taken_back: Container[str]) -> "History":
        """The same history, with these versions marked as rolled back."""
        marked = [replace(run, taken_back=run.other_model is None and run.version in taken_back) for run in self.runs]
        return replace(self, runs=marked)


def history(records: list[RetrainRecord], current: Predictor | None, name: str, links: Links, now: datetime) -> History:
    """What the page shows of requests, newest first."""
    served = current.version if current is not None else None
    return History([_run(record, served, name, links, now) for record in records])


def _run(record: RetrainRecord, served: ModelVersion | None, name: str, links: Links, now: datetime) -> Run:
    result, state = record.result, record.state
    steps = [State.QUEUED] if state is State.QUEUED else [State.QUEUED, State.RUNNING]
    version = result.model_version if result is not None else None
    other = result.model_name if result is not None and not result.is_of(name) else None
    return Run(
        id=record.id,
        state=state,
        steps=[*steps, *(() if state in OPEN else (state,))],
        is_open=state in OPEN,
        asked=SOURCES[record.source],
        requested=moment(record.submitted_at, now),
        took=_took(record, now),
        attempts=record.attempts,
        reason=result.reason if result is not None else record.last_error,
        version=version,
        version_link=links.version(other or name, version) if version else None,
        run_link=links.mlflow_run(result.mlflow_run_id) if result is not None else None,
        served=result is not None and served is not None and result.made(served.name, served.version),
        other_model=other,
        doing=_doing(record),
    )


def _doing(record: RetrainRecord) -> str | None:
    if record.state is not State.RUNNING:
        return None
    if record.step is None:
        return record.progress or "starting"
    steps = list(Step)
    text = f"step {steps.index(record.step) + 1} of {len(steps)}: {record.step.replace('_', ' ')}"
    return f"{text}; {record.progress}" if record.progress else text


def _took(record: RetrainRecord, now: datetime) -> str | None:
    if record.started_at is None:
        return None
    if record.result is None:
        return coarsely((now - record.started_at).total_seconds())
    return lasting((record.result.finished_at - record.started_at).total_seconds())
