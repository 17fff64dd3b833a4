"""Errors and latency of the served version and of the shadow, compared on the same rows in the log's thread.

Both versions predict each checked row again, one after the other, so that what hits both, such as a busy machine or a
lack of memory, is no evidence against either.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random

from prometheus_client import CollectorRegistry, Counter

from src.core.errors import InvalidInputError
from src.core.feature_table import FeatureTable, Row
from src.core.rollout_record import PairCount
from src.serving.models.predictor import Predictor

ERRORS, LATENCY = "errors", "latency"
WORSE, BETTER, EQUAL = "worse", "better", "equal"
# The shares of a second for both kinds of checks; a call that takes longer is made up for in the next seconds. Errors
# are checked only for a while after the served version has failed.
ERROR_SECONDS, LATENCY_SECONDS = 0.2, 0.025
ALARM_SECONDS = 30.0
# Failed rows that wait for their check; more are dropped, which only favours the served version.
MAX_FAILED = 200
# A row that fails again within so many seconds counts once, as clients repeat what failed.
REPEAT_SECONDS = 10.0
# The most rows per second on which both versions are timed.
TIMED_ROWS = 5
# A prediction that takes less is not slow, however quick the previous version is.
LEAST_SLOW_SECONDS = 0.005


class Budget:
    """Seconds that may be spent in each second; what is overspent is missing later."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = self._left = seconds
        self._clock = clock

    def each(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows, for as long as there is time to do something with them."""
        self._left = min(self._seconds, self._left + self._seconds)
        began, left = self._clock(), self._left
        for row in rows:
            if self._left <= 0:
                break
            yield row
            self._left = left - (self._clock() - began)


class PairMetrics:
    """Counts pairs by criterion and result; one per process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        name, documentation = "inference_rollout_pairs", "Rows on which both versions of a watch were checked"
        pairs = Counter(name, documentation, ["criterion", "result"], registry=registry)
        results = [(ERRORS, WORSE), (ERRORS, BETTER), (ERRORS, EQUAL), (LATENCY, WORSE), (LATENCY, BETTER)]
        self.count = {key: pairs.labels(*key).inc for key in results}


class PairedChecks:
    """Compares one watched version with the one before it.

    ``add_failed`` and ``take`` may be called from any thread; the others from one at a time.

    Args:
        served: the watched version.
        previous: the shadow, which takes the same columns.
        max_slowdown: how many times as long as the previous version's a prediction may take; None: not compared.
        metrics: counts the pairs.
        clock: seconds.
        chance: draws rows.
    """

    def __init__(  # noqa: PLR0913 - the last two are for tests
        self,
        served: Predictor,
        previous: Predictor,
        max_slowdown: float | None,
        metrics: PairMetrics,
        *,
        clock: Callable[[], float] = time.perf_counter,
        chance: Random | None = None,
    ) -> None:
        self._served = served
        self._previous = previous
        self._max_slowdown = max_slowdown
        self._metrics = metrics
        self._clock = clock
        self._chance = chance or Random()  # noqa: S311 - a sample
        self._budgets = {
            name: Budget(own, clock) for name, own in ((ERRORS, ERROR_SECONDS), (LATENCY, LATENCY_SECONDS))
        }
        self._failed: deque[Row] = deque()
        self._alarmed_until = float("-inf")
        self._counted: dict[str, float] = {}  # when a failed row was last counted
        self._found = dict.fromkeys(metrics.count, 0)  # not taken yet
        self._lock = threading.Lock()  # of the last one

    def add_failed(self, table: FeatureTable, rate: float) -> None:
        """Keep rows of a table on which the served version has failed, at the log's sampling rate."""
        for place in range(len(table)):
            if len(self._failed) >= MAX_FAILED:
                return
            if self._chance.random() < rate:
                self._failed.append(table.row(place))

    def take(self) -> tuple[PairCount, PairCount]:
        """The counts of errors and of latency since the last call."""
        with self._lock:
            found, self._found = self._found, dict.fromkeys(self._found, 0)
        errors, latency = (
            PairCount(worse=found[name, WORSE], better=found[name, BETTER]) for name in (ERRORS, LATENCY)
        )
        return errors, latency

    def run(self, logged: Sequence[FeatureTable]) -> float:
        """Check what there is time for in this second, and return the seconds that latency took.

        Args:
            logged: the rows of this second that the served version has answered, and that are logged.
        """
        failed, now = [self._failed.popleft() for _ in range(len(self._failed))], self._clock()
        # Whether a second is checked does not depend on its own rows: else seconds in which only the served version
        # fails would be found more often than others.
        if now < self._alarmed_until:
            self._check_errors(failed, logged)
        if failed:
            self._alarmed_until = now + ALARM_SECONDS
        if self._max_slowdown is None:
            return 0.0
        began = self._clock()
        # No row twice: its times depend on each other, and the evidence holds for rows that do not.
        total = sum(map(len, logged))
        places = self._chance.sample(range(total), min(TIMED_ROWS, total))
        for row in self._budgets[LATENCY].each(_row_of(logged, place) for place in places):
            self._compare_latency(row, self._max_slowdown)
        return self._clock() - began

    def _check_errors(self, failed: Sequence[Row], logged: Sequence[FeatureTable]) -> None:
        """Check failed and answered rows, each as likely as any other."""
        now = self._clock()
        self._counted = {key: at for key, at in self._counted.items() if now - at < REPEAT_SECONDS}
        places = list(range(-len(failed), sum(map(len, logged))))
        self._chance.shuffle(places)
        rows = (failed[place] if place < 0 else _row_of(logged, place) for place in places)
        for row, place in zip(self._budgets[ERRORS].each(rows), places, strict=False):
            if place < 0:
                self._compare_errors(row, now)
            elif _seconds(self._previous, row, self._clock) is None:
                self._note(ERRORS, BETTER)

    def _compare_errors(self, row: Row, now: float) -> None:
        key = repr(row)
        if key in self._counted:
            return
        fails = [_seconds(predictor, row, self._clock) is None for predictor in (self._served, self._previous)]
        if any(fails):
            self._counted[key] = now
        self._note(ERRORS, EQUAL if fails[0] == fails[1] else WORSE if fails[0] else BETTER)

    def _compare_latency(self, row: Row, max_slowdown: float) -> None:
        # In random order: the first one may find colder caches.
        pair = [self._served, self._previous]
        self._chance.shuffle(pair)
        seconds = {predictor: _seconds(predictor, row, self._clock) for predictor in pair}
        new, previous = seconds[self._served], seconds[self._previous]
        if new is not None and previous is not None:
            is_slow = new > LEAST_SLOW_SECONDS and new > max_slowdown * previous
            self._note(LATENCY, WORSE if is_slow else BETTER)

    def _note(self, criterion: str, result: str) -> None:
        self._metrics.count[criterion, result]()
        with self._lock:
            self._found[criterion, result] += 1


def _row_of(tables: Sequence[FeatureTable], place: int) -> Row:
    """A row by its number among those of all tables."""
    for table in tables:
        if place < len(table):
            return table.row(place)
        place -= len(table)
    raise IndexError(place)


def _seconds(predictor: Predictor, row: Row, clock: Callable[[], float]) -> float | None:
    """How long a prediction takes, without waiting for others; None if the model fails."""
    with predictor.engine.exclusive():
        began = clock()
        try:
            predictor.answer([row])
        except InvalidInputError:  # an error of the client
            pass
        except Exception:  # noqa: BLE001 - a model may raise errors of any type
            return None
        return clock() - began
