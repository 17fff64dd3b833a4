"""The retrain policy: which signals a training run serves, when it starts, and when to give up."""

import contextlib
import logging
from collections.abc import Callable
from datetime import datetime

from src.core.errors import ConnectionFailedError, LoopError, TrainerBusyError
from src.core.retrain_queue import RetrainQueue
from src.core.retrain_record import NO_PROGRESS, Outcome, RetrainRecord, RetrainResult, State
from src.core.wakeups import Wakeups
from src.services.monitor.exits import describe, kind_of, was_silent
from src.services.monitor.metrics import MonitorMetrics, MonitorState
from src.services.monitor.retrain_policy import RetrainPolicy
from src.services.monitor.schedule import ScheduledRequests
from src.services.monitor.trainer import StartOutcome, Trainer

SWEEP_SECONDS = 3600.0
LOCK_PATIENCE_SECONDS = 1.0
_NOT_STARTED = {
    StartOutcome.MISSING: "the training program or container was not found; the monitor's log names it",
    StartOutcome.FAILED: "the training could not be started; the monitor's log says why",
}

logger = logging.getLogger(__name__)


class MonitorService:
    """Serves all waiting signals by one training run at a time.

    All state that must survive a crash is in the spool; the attributes serve the metrics and refunds of attempts.

    Args:
        spool: the retrain spool, whose folders exist.
        trainer: starts a training run.
        metrics: the monitor's metrics.
        policy: the schedule, attempts and pauses.
        clock: the current time, with its zone.
    """

    def __init__(
        self,
        spool: RetrainQueue,
        trainer: Trainer,
        metrics: MonitorMetrics,
        policy: RetrainPolicy,
        clock: Callable[[], datetime],
    ) -> None:
        self._spool = spool
        self._trainer = trainer
        self._metrics = metrics
        self._policy = policy
        self._clock = clock
        self._scheduled = ScheduledRequests(spool, policy.schedule)
        self._open: set[str] | None = None  # claimed ids whose end is not counted yet; None before the first step
        self._run: set[str] = set()  # ids that the current run was started for
        self._uncharged: dict[str, RetrainRecord] = {}  # their state before an attempt that did not take place
        self._before_run: dict[str, RetrainRecord] = {}  # their state before the current run
        self._failed_starts = 0  # consecutive
        self._failed_start_at: datetime | None = None
        self._swept_at: datetime | None = None
        self._trouble = ""

    def run(self, wakeups: Wakeups) -> None:
        """Check the spool at every wake-up, and at least once per poll interval, until stopped."""
        while not wakeups.is_set():
            wakeups.wait(min(self.step_safely(), self._policy.poll_seconds))

    def stop(self) -> None:
        """End a training that must end with the monitor; its requests get their attempt back."""
        if not self._trainer.close():
            return
        self._uncharged = self._before_run
        try:
            with self._spool.lock(patience=LOCK_PATIENCE_SECONDS):
                self._give_back(self._spool.claimed())
        except (LoopError, OSError) as error:
            logger.warning("the stopped training has cost its requests an attempt: %s", error)

    def step_safely(self) -> float:
        """Run one step and log its errors, a repeated one once; return the seconds until the next step."""
        try:
            delay = self.step()
        except (LoopError, OSError) as error:
            what_to_do = "" if isinstance(error, LoopError) else " (is DATA_DIR there, writable, and not full?)"
            trouble = f"{error}{what_to_do}; waiting requests are kept and retried"
            if trouble != self._trouble:
                logger.error("%s", trouble)  # noqa: TRY400 - the line says what to do; a traceback would not
        except Exception as error:  # the outermost loop: the monitor must keep running
            trouble = repr(error)
            if trouble != self._trouble:
                logger.exception("the monitor's step failed; it will be retried")
        else:
            if self._trouble:
                logger.info("working again")
            self._trouble = ""
            return delay
        self._trouble = trouble
        return self._policy.poll_seconds

    def step(self) -> float:
        """Check the spool once, start a training if needed, and submit a request if one is scheduled.

        Returns:
            Seconds until the next step, if nothing wakes the loop earlier.

        Raises:
            LoopError, OSError: the spool or the trainer failed; nothing is lost.
        """
        now = self._clock()
        self._metrics.beat(now.timestamp())
        state, delay = self._act(now)
        self._metrics.show_state(state)
        # Last, so that a request that cannot be submitted keeps no other one from being served.
        self._metrics.show_scheduled(self._scheduled.step(now))
        self._metrics.show_queue(self._spool.depths())
        return delay

    def _act(self, now: datetime) -> tuple[MonitorState, float]:
        try:
            if self._trainer.is_running():
                return self._stand_by()
            unreachable = None
        except ConnectionFailedError as error:
            unreachable = str(error)
        left = self._policy.start_pause_left(self._failed_starts, self._failed_start_at, now)
        if left > 0:
            return MonitorState.BACKOFF, left
        batch: list[RetrainRecord] = []
        try:
            with self._spool.lock():
                delay, ready = self._settle(now)
                if unreachable is not None:
                    self._note(ready, unreachable)
                elif delay == 0:
                    batch = self._charge(ready, now)
        except TrainerBusyError:
            return self._stand_by()
        if unreachable is not None:
            return self._cannot_start(StartOutcome.FAILED, now) if ready else (MonitorState.IDLE, delay)
        if delay > 0:
            return MonitorState.BACKOFF, delay
        return self._start(batch, now) if batch else (MonitorState.IDLE, self._policy.poll_seconds)

    def _stand_by(self) -> tuple[MonitorState, float]:
        """A training is running: waiting requests wait for the next run."""
        if self._open is None:  # for counting, adopt the run that a previous monitor has started
            self._open = {record.id for record in self._spool.recent(1000) if record.state is State.RUNNING}
            self._run = set(self._open)
        return MonitorState.TRAINING, self._policy.poll_seconds

    # -- under the trainer lock ------------------------------------------------------------------------

    def _settle(self, now: datetime) -> tuple[float, list[RetrainRecord]]:
        """Settle the last run's requests; return the seconds to wait and, if 0, the requests to serve."""
        self._sweep(now)
        poisoned = self._spool.poisoned()
        try:
            code = self._trainer.exit_code() if self._run else None
            records = self._note_end(self._give_back(self._spool.claimed()), code)
            self._count_ends(records, code)
            left = [record for record in records if not self._is_given_up(record, now)]
            delay = max((self._policy.pause_left(record, now) for record in left), default=0.0)
            if delay == 0 and self._spool.has_waiting():
                known = {record.id for record in left}
                left = self._spool.claim()
                for record in left:
                    if record.id not in known:
                        self._metrics.count_claimed(record)
            self._open = {record.id for record in left}
        finally:
            self._metrics.count_poison(max(0, self._spool.poisoned() - poisoned))
        return delay, left

    def _sweep(self, now: datetime) -> None:
        if self._swept_at is None or abs((now - self._swept_at).total_seconds()) >= SWEEP_SECONDS:
            self._spool.sweep(now)
            self._swept_at = now

    def _give_back(self, records: list[RetrainRecord], error: str | None = None) -> list[RetrainRecord]:
        """Refund attempts that were recorded but did not take place; record why, if known."""
        settled = []
        for record in records:
            before = self._uncharged.get(record.id)
            if before is not None and record.attempts > before.attempts:
                uncharged = record.model_copy(
                    update={
                        "attempts": before.attempts,
                        "started_at": before.started_at,
                        "last_error": error or record.last_error,
                    }
                )
                self._spool.update(uncharged)
                settled.append(uncharged)
            else:
                settled.append(record)
        self._uncharged = {}
        return settled

    def _note_end(self, records: list[RetrainRecord], code: int | None) -> list[RetrainRecord]:
        """Note in the requests of a run that could not do so itself what ended it."""
        if not was_silent(code):
            return records
        noted = [record.with_error(describe(code)) if record.id in self._run else record for record in records]
        for record in noted:
            if record.id in self._run:
                self._spool.update(record)
        return noted

    def _note(self, records: list[RetrainRecord], error: str) -> None:
        """Record in each request why it waits."""
        for record in records:
            noted = record.with_error(error)
            if noted.last_error != record.last_error:
                logger.error("%s; retrain request %s waits", error, record.id)
                self._spool.update(noted)

    def _is_given_up(self, record: RetrainRecord, now: datetime) -> bool:
        """End a request that has no attempts left."""
        if record.attempts < self._policy.max_attempts:
            return False
        why = record.last_error or "no training run reported an outcome; the training log says why"
        times = "1 attempt" if record.attempts == 1 else f"{record.attempts} attempts"
        result = RetrainResult(outcome=Outcome.FAILED, reason=f"gave up after {times}: {why}", finished_at=now)
        self._spool.finish(record, result)
        self._count_end(record, result)
        logger.error("retrain request %s failed: %s", record.id, result.reason)
        return True

    def _charge(self, records: list[RetrainRecord], now: datetime) -> list[RetrainRecord]:
        """Record one more attempt for each request before it takes place; return the updated requests."""
        self._uncharged = {record.id: record for record in records}
        charged = []
        for record in records:
            attempt = record.model_copy(update={"attempts": record.attempts + 1, "started_at": now, **NO_PROGRESS})
            self._spool.update(attempt)
            charged.append(attempt)
        return charged

    # -- without the lock, which the training run takes ------------------------------------------------

    def _start(self, batch: list[RetrainRecord], now: datetime) -> tuple[MonitorState, float]:
        outcome = self._trainer.start()
        if outcome not in _NOT_STARTED:
            self._metrics.count_start(outcome)
        if outcome is StartOutcome.ALREADY_RUNNING:
            # That run's requests may or may not be these; the attempt is refunded once it has ended.
            return MonitorState.TRAINING, self._policy.poll_seconds
        if outcome is StartOutcome.STARTED:
            self._before_run, self._uncharged, self._failed_starts = self._uncharged, {}, 0
            self._metrics.count_attempts(len(batch))
            self._run = {record.id for record in batch}
            logger.info("training for %d retrain request(s): %s", len(batch), ", ".join(sorted(self._run)[:5]))
            return MonitorState.TRAINING, self._policy.poll_seconds
        # No training took place, so the attempt is refunded: requests wait as long as nothing can be started.
        with contextlib.suppress(TrainerBusyError), self._spool.lock():
            self._give_back(self._spool.claimed(), _NOT_STARTED[outcome])
        return self._cannot_start(outcome, now)

    def _cannot_start(self, outcome: StartOutcome, now: datetime) -> tuple[MonitorState, float]:
        self._metrics.count_start(outcome)
        self._failed_starts += 1
        self._failed_start_at = now
        return MonitorState.BACKOFF, self._policy.start_pause_left(self._failed_starts, now, now)

    # -- counting --------------------------------------------------------------------------------------

    def _count_ends(self, records: list[RetrainRecord], code: int | None) -> None:
        """Count each request that has ended since the last step, and the run, once; the others are still claimed."""
        claimed = {record.id for record in records}
        run, self._run = self._run, set()
        ended_in_run = []
        for request_id in sorted((self._open or set()) - claimed):
            record = self._spool.get(request_id)
            if record is not None and record.result is not None:
                self._count_end(record, record.result)
                if request_id in run:
                    ended_in_run.append(record)
        self._open = claimed
        if run:
            self._metrics.count_exit(kind_of(code))
            self._metrics.count_run(ended_in_run)
            self._log_run(ended_in_run, [record for record in records if record.id in run], code)

    def _count_end(self, record: RetrainRecord, result: RetrainResult) -> None:
        self._metrics.count_end(record, result)
        if self._open is not None:
            self._open.discard(record.id)

    def _log_run(self, ended: list[RetrainRecord], unfinished: list[RetrainRecord], code: int | None) -> None:
        """One line for a training run that ended: its outcome, or which attempt failed, and why."""
        result = ended[0].result if ended else None
        if result is None:
            attempts = max((record.attempts for record in unfinished), default=1)
            errors = [record.last_error for record in unfinished if record.last_error]
            reason = errors[0] if errors and code is not None else describe(code)
            logger.warning("training attempt %d of %d failed: %s", attempts, self._policy.max_attempts, reason)
            return
        version = f", version {result.model_version}" if result.model_version else ""
        logger.info("the training run ended: %s%s; %s", result.outcome, version, result.reason)
