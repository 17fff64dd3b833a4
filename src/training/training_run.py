"""One training run: takes the lock and the claimed requests, trains, and records each request's outcome."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from src.core.audit_log import AuditLog
from src.core.errors import LoopError, TrainerBusyError
from src.core.exit_codes import ExitCode
from src.core.file_lock import locked_file
from src.core.pipeline_config import PipelineConfig, load_pipeline_config
from src.core.retrain_queue import open_queue
from src.core.retrain_record import UNATTENDED, Outcome, RetrainRecord, RetrainResult, Step
from src.core.training_baseline import TrainingBaseline, write_baseline
from src.core.training_settings import TrainSettings
from src.training.gate import Verdict

SERVICE = "train-model"
LOCK_PATIENCE_SECONDS = 5.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """The verdict of a training, the duration of each step in seconds, and the rows of the source by file."""

    verdict: Verdict
    step_seconds: Mapping[Step, float]
    rows: Mapping[str, int] = field(default_factory=dict)


Train = Callable[[TrainSettings, PipelineConfig, Sequence[str]], Training]


@dataclass(frozen=True)
class Tasks:
    """What a training run does; each of them may raise LoopError.

    Attributes:
        train: trains for these request ids; the verdict is in the registry when it returns.
        is_needed: called where no request is claimed; False ends the run at once, as a success.
        nothing_new: called on the first attempt of automatic requests; returns the reason to skip them, or None to
            train.
        retain: deletes old versions, runs and requests after a training; failures are only logged.
    """

    train: Train
    is_needed: Callable[[], bool] = lambda: True
    nothing_new: Callable[[TrainSettings, PipelineConfig], str | None] = lambda *_: None
    retain: Callable[[TrainSettings, PipelineConfig], None] = lambda *_: None


class TrainingRun:
    """Serves all claimed requests of the spool with one training.

    Args:
        settings: the servers and the shared volume.
        tasks: what the run does.
        clock: the current time, with a time zone.
        patience: seconds to wait for the trainer lock.
    """

    def __init__(
        self,
        settings: TrainSettings,
        tasks: Tasks,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        patience: float = LOCK_PATIENCE_SECONDS,
    ) -> None:
        self._settings = settings
        self._tasks = tasks
        self._clock = clock
        self._patience = patience
        self._spool = open_queue(settings, audit=AuditLog(settings.audit_file))

    def run(self) -> ExitCode:
        """Train once; an error is logged in one line and returned as the exit code."""
        try:
            with self._spool.create().lock(patience=self._patience):
                return self._run_locked()
        except TrainerBusyError as error:
            logger.error("%s", error)  # noqa: TRY400 - expected; the line says what to do
            return ExitCode.BUSY
        except LoopError as error:
            logger.error("%s", error)  # noqa: TRY400 - as above
        except OSError as error:
            folder = self._spool.root
            logger.error("cannot use %s (%s); make it writable or set DATA_DIR", folder, error.strerror)  # noqa: TRY400
        return ExitCode.FAILED

    def _run_locked(self) -> ExitCode:
        started, records = self._clock(), self._spool.claimed()
        try:
            if not records and not self._tasks.is_needed():
                name = self._settings.model_name
                logger.info("nothing to do: %s has a champion, and no retrain request is pending", name)
                return ExitCode.OK
            config = load_pipeline_config(self._settings.pipeline_config)
            if (reason := self._reason_to_skip(records, config)) is not None:
                return self._skip(records, reason)
            with locked_file(self._settings.training_lock):  # by which inference knows that a training is running
                training = self._tasks.train(self._settings, config, [record.id for record in records])
        except LoopError as error:
            logger.error("%s", error)  # noqa: TRY400 - the message says what to do; a traceback would bury it
            logger.debug("where it came from", exc_info=error)
            return self._fail(records, str(error), permanent=error.permanent)
        except Exception as error:  # the outermost loop: the failure must be recorded in the requests
            logger.exception("the training failed unexpectedly")
            return self._fail(records, f"{type(error).__name__}: {error}", permanent=False)
        # After the verdict is in the registry: an interruption from here on costs at most one more training.
        verdict = training.verdict
        self._record_baseline(training, started)
        self._finish(records, verdict.to_result(self._clock(), training.step_seconds))
        logger.info("%s: version %s; %s", verdict.outcome, verdict.model_version, verdict.reason)
        self._retain(config)
        return ExitCode.OK

    def _record_baseline(self, training: Training, started: datetime) -> None:
        """Record what was read, before the requests end; without it, the same rows and labels count as new again."""
        verdict = training.verdict
        baseline = TrainingBaseline(
            model=verdict.model_name, version=verdict.model_version, started_at=started, rows=dict(training.rows)
        )
        try:
            write_baseline(self._spool.root, baseline)
        except (LoopError, OSError):
            logger.exception("what the training has read is not recorded")

    def _retain(self, config: PipelineConfig) -> None:
        try:
            self._tasks.retain(self._settings, config)
        except Exception:  # the verdict and the requests' outcomes are recorded by now
            logger.exception("old versions were not deleted; the next training tries again")

    def _reason_to_skip(self, records: Sequence[RetrainRecord], config: PipelineConfig) -> str | None:
        """Why these requests need no training; None for a person's request and for a run without requests.

        A second attempt always trains: the first one's version may have its verdict without its alias.
        """
        if not records or not all(record.source in UNATTENDED and record.attempts <= 1 for record in records):
            return None
        return self._tasks.nothing_new(self._settings, config)

    def _skip(self, records: Sequence[RetrainRecord], reason: str) -> ExitCode:
        self._finish(records, RetrainResult(outcome=Outcome.SKIPPED, reason=reason, finished_at=self._clock()))
        logger.info("%s: %s", Outcome.SKIPPED, reason)
        return ExitCode.OK

    def _fail(self, records: Sequence[RetrainRecord], reason: str, *, permanent: bool) -> ExitCode:
        """Finish the requests after a permanent error; otherwise leave them claimed, with the reason."""
        if permanent:
            self._finish(records, RetrainResult(outcome=Outcome.FAILED, reason=reason, finished_at=self._clock()))
            return ExitCode.PERMANENT
        for record in records:
            self._spool.update(record.with_error(reason))
        return ExitCode.FAILED

    def _finish(self, records: Sequence[RetrainRecord], result: RetrainResult) -> None:
        for record in records:
            self._spool.finish(record, result)
