"""One retrain request as it lies in the spool, from submission to outcome."""

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

import uuid_utils
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat

# Longest texts, in characters; a record's file has room for all of them, see MAX_RECORD_BYTES in spool_files.py.
MAX_TEXT = 300
MAX_REASON = 1000
MAX_PROGRESS = 100
# A forged id may name a time that no date reaches, in seconds since the epoch.
LAST_DATE = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
ID_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

Source = Literal["api", "alert", "schedule", "bootstrap"]
# Requests that no person made: they end as skipped where there is nothing new to learn from.
UNATTENDED: frozenset[Source] = frozenset({"alert", "schedule"})


def new_id() -> str:
    """A UUIDv7: ids sort by the time they were made."""
    return str(uuid_utils.uuid7())


def born_at(request_id: str) -> float:
    """Seconds since the epoch at which an id was made."""
    return uuid_utils.UUID(request_id).timestamp / 1000


class Outcome(StrEnum):
    """How a retrain request ended."""

    PROMOTED = "promoted"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    FAILED = "failed"


class Step(StrEnum):
    """A training run's steps in their order, named as the functions in ``pipeline/pipeline.py``."""

    PREPROCESS = "preprocess"
    SPLIT = "split"
    TRAIN = "train"
    EVALUATE = "evaluate_on_holdout"
    PROMOTE = "promote"


class State(StrEnum):
    """Where a retrain request stands."""

    QUEUED = "queued"
    RUNNING = "running"
    PROMOTED = "promoted"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    FAILED = "failed"


def _clipping(longest: int) -> BeforeValidator:
    """Folds white space, drops what does not print, and cuts a text to so many characters."""

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
# Whole milliseconds: no longer text than a record has room for.
Duration = Annotated[FiniteFloat, Field(ge=0), AfterValidator(lambda seconds: round(seconds, 3))]


class RetrainResult(_Frozen):
    """What came of a retrain request; the names are MLflow's. ``step_seconds`` are of a run that came to a verdict."""

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
        """Whether its version is this model's, as far as it tells: one volume may have seen models of several names."""
        return self.model_name in {None, name}

    def made(self, name: str, version: str) -> bool:
        """Whether this is the version that it registered."""
        return self.model_version == version and self.is_of(name)


class RetrainRecord(_Frozen):
    """One retrain request, as it lies in the spool.

    ``cause`` is an alert's group key; ``progress`` says what the training that serves it does at the moment.
    """

    id: Annotated[str, Field(pattern=rf"^{ID_PATTERN.pattern}$")]
    source: Source
    submitted_at: AwareDatetime
    cause: Text | None = None
    attempts: Annotated[int, Field(ge=0)] = 0
    started_at: AwareDatetime | None = None
    last_error: Text | None = None
    progress: Progress | None = None
    result: RetrainResult | None = None

    @classmethod
    def unreadable(cls, request_id: str) -> Self:
        """What is told of an accepted request whose file somebody else has spoilt."""
        born = datetime.fromtimestamp(min(born_at(request_id), LAST_DATE), UTC)
        result = RetrainResult(outcome=Outcome.FAILED, reason="its signal file became unreadable", finished_at=born)
        return cls(id=request_id, source="api", submitted_at=born, result=result)

    def with_error(self, error: str) -> Self:
        """The same after an attempt that failed; the error is clipped, so that the record can be read again."""
        return type(self).model_validate(self.model_dump() | {"last_error": error, "progress": None})

    def with_progress(self, progress: str) -> Self:
        """The same with what the training does now, clipped."""
        return type(self).model_validate(self.model_dump() | {"progress": progress})

    @property
    def state(self) -> State:
        """The request's state, as ``GET /retrain/{id}`` tells it."""
        if self.result is not None:
            return State(self.result.outcome)
        return State.RUNNING if self.attempts else State.QUEUED
