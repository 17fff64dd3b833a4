"""Both carriers of the queue under any order of operations, with killed processes, lost connections and lost leases."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from src.core.errors import LeaseLostError, LoopError, TrainerBusyError
from src.core.retrain_queue import RetrainQueue
from src.core.retrain_record import Outcome, RetrainResult, State
from src.core.retrain_tables import QueueDatabase
from tests.support.faults import Killed
from tests.support.retrain_carriers import Carrier, Files, Rows

NOW = datetime(2030, 1, 1, tzinfo=UTC)
# `QUEUE_EXAMPLES=1000 pytest FILE` is the long run.
EXAMPLES = int(os.environ.get("QUEUE_EXAMPLES", "15"))

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Strike:
    """A fault at the ``at``-th access of the carrier."""

    at: int
    when: str
    kills: bool


strikes = st.none() | st.builds(Strike, st.integers(0, 20), st.sampled_from(["before", "after"]), st.booleans())
processes = st.sampled_from(["one", "two"])


class QueueMachine(RuleBasedStateMachine):
    """Two monitors and any submitters, and what was promised about each accepted request."""

    def __init__(self, open_carrier: Callable[[Path], Carrier]) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="queue-"))
        self.carrier = open_carrier(self.root)
        self.queues = {name: self.carrier.open(name) for name in ("one", "two")}
        self.outcomes: dict[str, Outcome | None] = {}
        self.attempts: dict[str, int] = {}
        self.spoilt: set[str] = set()

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    def apply(self, strike: Strike | None, operation: Callable[[], object]) -> bool:
        """Run one operation of one process; False if it was killed or failed. Its lease has expired by the next one."""
        faulty = self.carrier.fault(strike.at, strike.when, kills=strike.kills) if strike else contextlib.nullcontext()
        try:
            with faulty:
                operation()
        except (Killed, OSError, LoopError):
            assert strike is not None, "fails by itself"
            return False
        finally:
            if strike is not None:
                self.carrier.expire_lock()
        return True

    def holding(self, process: str, operation: Callable[[RetrainQueue], object]) -> Callable[[], None]:
        queue = self.queues[process]

        def locked() -> None:
            with queue.lock():
                operation(queue)

        return locked

    @rule(process=processes, strike=strikes)
    def submit(self, process: str, strike: Strike | None) -> None:
        accepted: list[str] = []
        before = set(self.carrier.states())
        succeeded = self.apply(strike, lambda: accepted.append(self.queues[process].submit("api").id))
        added = set(self.carrier.states()) - before
        # A submitter that was killed, or whose connection was lost, may have submitted its request.
        assert added == set(accepted) if succeeded else len(added) <= 1
        self.outcomes |= dict.fromkeys(added)
        self.attempts |= dict.fromkeys(added, 0)

    @rule(process=processes, strike=strikes)
    def claim(self, process: str, strike: Strike | None) -> None:
        claimed: list[str] = []
        operation = self.holding(process, lambda queue: claimed.extend(record.id for record in queue.claim()))
        succeeded = self.apply(strike, operation)
        open_ids = sorted(i for i, end in self.outcomes.items() if end is None and i not in self.spoilt)
        assert set(claimed) <= set(open_ids), "served again"
        if succeeded and strike is None:
            assert claimed == open_ids
            assert self.queues[process].poisoned() == len(self.spoilt)

    @rule(process=processes, strike=strikes)
    def charge(self, process: str, strike: Strike | None) -> None:
        def operation(queue: RetrainQueue) -> None:
            for record in queue.claimed():
                queue.update(record.model_copy(update={"attempts": record.attempts + 1, "started_at": NOW}))

        self.apply(strike, self.holding(process, operation))
        for request_id in set(self.attempts) - self.spoilt:
            record = self.queues["two"].get(request_id)
            assert record is not None
            assert record.attempts in {self.attempts[request_id], self.attempts[request_id] + 1}
            self.attempts[request_id] = record.attempts

    @rule(process=processes, strike=strikes, outcome=st.sampled_from(Outcome), most=st.integers(1, 3))
    def finish(self, process: str, strike: Strike | None, outcome: Outcome, most: int) -> None:
        reported: list[str] = []

        def operation(queue: RetrainQueue) -> None:
            for record in queue.claimed()[:most]:
                queue.finish(record, RetrainResult(outcome=outcome, reason="r", finished_at=NOW))
                reported.append(record.id)

        self.apply(strike, self.holding(process, operation))
        self.note_ends(outcome, reported)

    @rule(outcome=st.sampled_from(Outcome), renewed=st.booleans())
    def lose_the_lock_while_claimed(self, outcome: Outcome, renewed: bool) -> None:  # noqa: FBT001 - drawn
        """The first holder stalls for longer than its lease; the second one takes over, and may end."""
        first, second = self.queues["one"], self.queues["two"]
        ended: list[str] = []
        with first.lock():
            records = first.claim()
            self.carrier.expire_lock()
            try:
                with second.lock():
                    for record in second.claim()[:1]:
                        second.finish(record, RetrainResult(outcome=outcome, reason="r", finished_at=NOW))
                        ended.append(record.id)
                    if renewed:
                        self.refuse(first, records)
                if not renewed:
                    self.refuse(first, records)
            except TrainerBusyError:
                assert isinstance(self.carrier, Files), "a lease that has expired is not free"
        self.note_ends(outcome, ended)

    def refuse(self, queue: RetrainQueue, records: list) -> None:  # type: ignore[type-arg]
        other = RetrainResult(outcome=Outcome.FAILED, reason="late", finished_at=NOW)
        for record in records[:2]:
            with pytest.raises(LeaseLostError):
                queue.finish(record, other)
            with pytest.raises(LeaseLostError):
                queue.update(record.model_copy(update={"attempts": 99}))
        with pytest.raises(LeaseLostError):
            queue.claim()

    @rule(data=st.data())
    def spoil(self, data: st.DataObject) -> None:
        open_ids = sorted(i for i, end in self.outcomes.items() if end is None and i not in self.spoilt)
        live = [i for i in open_ids if self.queues["one"].get(i).result is None]  # type: ignore[union-attr]
        if live:
            request_id = data.draw(st.sampled_from(live))
            self.carrier.spoil(request_id)
            self.spoilt.add(request_id)

    def note_ends(self, outcome: Outcome, reported: list[str]) -> None:
        for request_id in set(self.outcomes) - self.spoilt:
            record = self.queues["two"].get(request_id)
            assert record is not None
            if self.outcomes[request_id] is None and record.result is not None:
                self.outcomes[request_id] = outcome
            assert record.result is not None or request_id not in reported

    @invariant()
    def every_accepted_request_is_in_exactly_one_state(self) -> None:
        states = self.carrier.states()
        assert set(states) == set(self.outcomes)
        for request_id, outcome in self.outcomes.items():
            assert len(states[request_id]) == 1
            record = self.queues["one"].get(request_id)
            assert record is not None
            if request_id in self.spoilt:
                assert record.state is State.FAILED
            elif outcome is not None:
                assert record.state == State(outcome), "went back from its outcome"
                assert record.attempts < 99
            else:
                assert states[request_id][0] in {"new", "cur"}
                assert record.state is (State.RUNNING if self.attempts[request_id] else State.QUEUED)


LIMITS = settings(
    max_examples=EXAMPLES,
    stateful_step_count=20,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


def test_files_under_any_order_of_operations() -> None:
    run_state_machine_as_test(lambda: QueueMachine(Files), settings=LIMITS)  # type: ignore[arg-type] # any factory


@pytest.mark.timeout(7200)
def test_database_under_any_order_of_operations(database: QueueDatabase) -> None:
    run_state_machine_as_test(lambda: QueueMachine(lambda root: Rows(root, database)), settings=LIMITS)  # type: ignore[arg-type] # any factory
