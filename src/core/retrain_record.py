"""A retrain request in the spool, from submission to outcome."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

import uuid_utils
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat

# The longest texts, in characters; MAX_RECORD_BYTES in spool_files.py allows for all of them.
MAX_TEXT = 300
MAX_REASON = 1000
MAX_PROGRESS = 100
ID_LENGTH = 36
# The latest date in seconds since the epoch; a forged id may contain a later time.
LAST_DATE = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
ID_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

Source = Literal["api", "alert", "schedule", "bootstrap"]
# Automatic requests, which are skipped where there is nothing new to learn from.
UNATTENDED: frozenset[Source] = frozenset({"alert", "schedule"})


def new_id() -> str:
    """A UUIDv7: ids sort by creation time."""
    return str(uuid_utils.uuid7())


def id_after(other: str) -> str:
    """An id that sorts just after another one, whatever the time is."""
    return str(uuid_utils.uuid7(nanoseconds=(uuid_utils.UUID(other).timestamp + 1) * 1_000_000))


def created_at(request_id: str) -> float:
    """The creation time of an id, in seconds since the epoch."""
    return uuid_utils.UUID(request_id).timestamp / 1000


class Outcome(StrEnum):
    """How a retrain request ended; ``passed``: the version awaits a person's approval."""

    PROMOTED = "promoted"
    PASSED = "passed"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    FAILED = "failed"


class Step(StrEnum):
    """A training run's steps in order, named like the functions in ``pipeline/pipeline.py``."""

    PREPROCESS = "preprocess"
    SPLIT = "split"
    TRAIN = "train"
    EVALUATE = "evaluate_on_holdout"
    PROMOTE = "promote"


class State(StrEnum):
    """The state of a retrain request."""

    QUEUED = "queued"
    RUNNING = "running"
    PROMOTED = "promoted"
    PASSED = "passed"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    FAILED = "failed"


def _clipping(longest: int) -> BeforeValidator:
    """Collapses white space, removes unprintable characters, and truncates text to a length."""

    def clip(text: object) -> object:
        if not isinstance(text, str):
            return text
        printable = "".join(char for char in " ".join(text.split()) if char.isprintable())
        return printable if len(printable) <= longest else printable[: longest - 1] + "…"

    return BeforeValidator(clip)


Text = Annotated[str, _clipping(MAX_TEXT)]
Reason = Annotated[str, _clipping(MAX_REASON)]
Progress = Annotated[str, _clipping(MAX_PROGRESS)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# By metric. Finite, because a NaN is written to JSON as null and would make the record unreadable.
Scores = Annotated[dict[str, FiniteFloat], Field(max_length=50)]
# Rounded to milliseconds, to limit the size of a record.
Duration = Annotated[FiniteFloat, Field(ge=0), AfterValidator(lambda seconds: round(seconds, 3))]


class RetrainResult(_Frozen):
    """The outcome of a retrain request, with MLflow's names; ``step_seconds`` exist for runs with a verdict."""

    outcome: Outcome
    reason: Reason
    model_name: str | None = None
    model_version: str | None = None
    mlflow_run_id: str | None = None
    challenger: Scores | None = None
    champion: Scores | None = None
    step_seconds: dict[Step, Duration] | None = None
    finished_at: AwareDatetime

    def is_of(self, name: str) -> bool:
        """Whether it is a result for this model, or names no model; a volume may be used for several models."""
        return self.model_name in {None, name}

    def made(self, name: str, version: str) -> bool:
        """Whether the request registered this version."""
        return self.model_version == version and self.is_of(name)


# The fields of a record without a running training.
NO_PROGRESS: Mapping[str, None] = {"step": None, "progress": None}


class RetrainRecord(_Frozen):
    """A retrain request in the spool.

    ``cause`` is an alert's group key; ``step`` is the current step of the training that serves it, and ``progress``
    what that step is doing, if it says so.
    """

    id: Annotated[str, Field(pattern=rf"^{ID_PATTERN.pattern}$")]
    source: Source
    submitted_at: AwareDatetime
    cause: Text | None = None
    attempts: Annotated[int, Field(ge=0)] = 0
    started_at: AwareDatetime | None = None
    last_error: Text | None = None
    step: Step | None = None
    progress: Progress | None = None
    result: RetrainResult | None = None

    @classmethod
    def unreadable(cls, request_id: str) -> Self:
        """The record for an accepted request whose file has become unreadable."""
        created = datetime.fromtimestamp(min(created_at(request_id), LAST_DATE), UTC)
        result = RetrainResult(outcome=Outcome.FAILED, reason="its signal file became unreadable", finished_at=created)
        return cls(id=request_id, source="api", submitted_at=created, result=result)

    def with_error(self, error: str) -> Self:
        """The record after a failed attempt; the error is truncated to the maximum length."""
        return type(self).model_validate(self.model_dump() | {"last_error": error, **NO_PROGRESS})

    def at_step(self, step: Step) -> Self:
        """The record at the start of a step of the training."""
        return self.model_copy(update={"step": step, "progress": None})

    def with_progress(self, progress: str) -> Self:
        """The record with the current activity of the training's step, truncated to the maximum length."""
        return type(self).model_validate(self.model_dump() | {"progress": progress})

    def ended(self, result: RetrainResult) -> Self:
        """The record with its outcome; only a failed request keeps its last error."""
        changes = {"result": result, **NO_PROGRESS}
        if result.outcome is not Outcome.FAILED:
            changes["last_error"] = None
        return self.model_copy(update=changes)

    @property
    def state(self) -> State:
        """The request's state, as in ``GET /retrain/{id}``."""
        if self.result is not None:
            return State(self.result.outcome)
        return State.RUNNING if self.attempts else State.QUEUED
