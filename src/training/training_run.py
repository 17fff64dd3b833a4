"""The policy of one training run: take the lock and the claimed requests, train, end each request with its outcome."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum

from src.core.errors import LoopError, TrainerBusyError
from src.core.pipeline_config import PipelineConfig, load_pipeline_config
from src.core.retrain_record import UNATTENDED, Outcome, RetrainRecord, RetrainResult, Step
from src.core.retrain_signal import RetrainSpool
from src.core.settings import TrainSettings
from src.training.gate import Verdict

SERVICE = "train-model"
LOCK_PATIENCE_SECONDS = 5.0

logger = logging.getLogger(__name__)


class ExitCode(IntEnum):
    """What the process's exit code says; a verdict of the gate, either way, is success."""

    OK = 0
    FAILED = 1
    PERMANENT = 2  # configuration or data must be fixed first
    BUSY = 75  # EX_TEMPFAIL: another training is running


@dataclass(frozen=True)
class Training:
    """What a training came to, and how long each of its steps took, in seconds."""

    verdict: Verdict
    step_seconds: Mapping[Step, float]


Train = Callable[[TrainSettings, PipelineConfig, Sequence[str]], Training]


@dataclass(frozen=True)
class Tasks:
    """What a training run does; each of them may raise LoopError.

    Attributes:
        train: does the training for these request ids; its verdict is in the registry when it returns.
        is_needed: asked where no request is claimed; a run that is not needed ends well at once.
        nothing_new: asked on the first attempt, where no person made any of the requests; the reason to skip them, or
            None to train.
        retain: deletes what is no longer kept, after a training; a failure is logged only.
    """

    train: Train
    is_needed: Callable[[], bool] = lambda: True
    nothing_new: Callable[[TrainSettings, PipelineConfig], str | None] = lambda *_: None
    retain: Callable[[TrainSettings, PipelineConfig], None] = lambda *_: None


class TrainingRun:
    """Serves everything that is claimed in the spool by one training.

    Args:
        settings: the servers and the shared volume.
        tasks: what the run does.
        clock: the time of day, with its zone.
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
        self._spool = RetrainSpool(settings.retrain_dir)

    def run(self) -> ExitCode:
        """Train once; each error is logged in one line and becomes the exit code."""
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
        records = self._spool.claimed()
        try:
            if not records and not self._tasks.is_needed():
                logger.info("nothing to do: %s has a champion, and no retrain request waits", self._settings.model_name)
                return ExitCode.OK
            config = load_pipeline_config(self._settings.pipeline_config)
            if (reason := self._reason_to_skip(records, config)) is not None:
                return self._skip(records, reason)
            training = self._tasks.train(self._settings, config, [record.id for record in records])
        except LoopError as error:
            logger.error("%s", error)  # noqa: TRY400 - the message says what to do; a traceback would bury it
            logger.debug("where it came from", exc_info=error)
            return self._fail(records, str(error), permanent=error.permanent)
        except Exception as error:  # the outermost loop: the requests must learn that the run failed
            logger.exception("the training failed unexpectedly")
            return self._fail(records, f"{type(error).__name__}: {error}", permanent=False)
        # Only now: the registry has the verdict, so that a death from here on costs one more training at worst.
        verdict = training.verdict
        self._finish(records, verdict.to_result(self._clock(), training.step_seconds))
        logger.info("%s: version %s; %s", verdict.outcome, verdict.model_version, verdict.reason)
        self._retain(config)
        return ExitCode.OK

    def _retain(self, config: PipelineConfig) -> None:
        try:
            self._tasks.retain(self._settings, config)
        except Exception:  # the verdict stands and the requests have ended, whatever goes wrong here
            logger.exception("old versions were not deleted; the next training tries again")

    def _reason_to_skip(self, records: Sequence[RetrainRecord], config: PipelineConfig) -> str | None:
        """Why these requests need no training; a person's request, and a run without any, always trains.

        So does another attempt: the first one's version may have its verdict already and its alias not yet.
        """
        if not records or not all(record.source in UNATTENDED and record.attempts <= 1 for record in records):
            return None
        return self._tasks.nothing_new(self._settings, config)

    def _skip(self, records: Sequence[RetrainRecord], reason: str) -> ExitCode:
        self._finish(records, RetrainResult(outcome=Outcome.SKIPPED, reason=reason, finished_at=self._clock()))
        logger.info("%s: %s", Outcome.SKIPPED, reason)
        return ExitCode.OK

    def _fail(self, records: Sequence[RetrainRecord], reason: str, *, permanent: bool) -> ExitCode:
        """End the requests where trying again cannot help; else leave them claimed, with the reason noted."""
        if permanent:
            self._finish(records, RetrainResult(outcome=Outcome.FAILED, reason=reason, finished_at=self._clock()))
            return ExitCode.PERMANENT
        for record in records:
            self._spool.update(record.with_error(reason))
        return ExitCode.FAILED

    def _finish(self, records: Sequence[RetrainRecord], result: RetrainResult) -> None:
        for record in records:
            self._spool.finish(record, result)
