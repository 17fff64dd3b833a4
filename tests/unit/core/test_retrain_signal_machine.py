"""The spool under any order of operations, with killed processes, full disks and invalid files."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from src.core.errors import LoopError
from src.core.retrain_record import Outcome, RetrainRecord, RetrainResult, State, new_id
from src.core.retrain_signal import RetrainSpool
from src.core.spool_files import MAX_RECORD_BYTES
from tests.support.faults import Fault, Killed, bad_disk, full_disk

NOW = datetime(2030, 1, 1, tzinfo=UTC)
FOLDERS = ("new", "cur", "done")

no_fault = st.none()
faults = st.one_of(
    no_fault,
    st.builds(Fault, at=st.integers(0, 25), when=st.sampled_from(["before", "after"])),
    st.builds(full_disk, at=st.integers(0, 12)),
    st.builds(bad_disk, at=st.integers(0, 25)),
)

pytestmark = pytest.mark.slow


def valid_json() -> str:
    return RetrainRecord(id=new_id(), source="api", submitted_at=NOW).model_dump_json(exclude_none=True)


# Each puts something unreadable at a path.
POISON: dict[str, Callable[[Path], object]] = {
    "bad JSON": lambda path: path.write_text("{"),
    "empty": lambda path: path.write_text(""),
    "not UTF-8": lambda path: path.write_bytes(b'{"id": "\xff"}'),
    "too large": lambda path: path.write_text(valid_json() + " " * MAX_RECORD_BYTES),
    "symlink": lambda path: path.symlink_to("/etc/hostname"),
    "dangling symlink": lambda path: path.symlink_to("nowhere"),
    "folder": lambda path: path.mkdir(),
    "wrong schema": lambda path: path.write_text('{"image": "evil"}'),
    "a field more": lambda path: path.write_text(valid_json()[:-1] + ',"command":"rm"}'),
    "misnamed": lambda path: path.write_text(valid_json()),
}
names = st.sampled_from(["id", "x.json", "\xe9" * 100 + ".json", ".hidden", "-rf", "again.json"])


class SpoolMachine(RuleBasedStateMachine):
    """One spool on a real disk, and the reported outcome of every accepted request."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="spool-"))
        self.outcomes: dict[str, Outcome | None] = {}
        self.attempts: dict[str, int] = {}
        self.dropped = 0

    @initialize()
    def start(self) -> None:
        self.spool = RetrainSpool(self.root).create()

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    def apply(self, fault: Fault | None, operation: Callable[[], object]) -> bool:
        """Run one operation of one process; False if it died or failed. A new process continues."""
        try:
            with fault.injected() if fault else contextlib.nullcontext():
                operation()
        except (Killed, OSError, LoopError):
            assert fault is not None, "fails by itself"
            assert fault.struck, "fails by itself"
            self.spool = RetrainSpool(self.root)
            return False
        return True

    # -- what processes do -----------------------------------------------------------------------------

    @rule(fault=faults)
    def submit(self, fault: Fault | None) -> None:
        before = self.names_in("new")
        accepted: list[RetrainRecord] = []
        if self.apply(fault, lambda: accepted.append(self.spool.submit("api"))):
            assert f"{accepted[0].id}.json" in self.names_in("new")
        elif fault is not None and fault.error is not None:
            assert self.names_in("new") == before, "a refused request was left behind"
        # A process that was killed before it could respond may have submitted its request.
        for name in self.names_in("new") - before:
            self.outcomes[name.removesuffix(".json")] = None
            self.attempts[name.removesuffix(".json")] = 0

    @rule(fault=faults)
    def claim(self, fault: Fault | None) -> None:
        claimed: list[RetrainRecord] = []
        if self.apply(fault, lambda: claimed.extend(self.spool.claim())) and fault is None:
            assert [record.id for record in claimed] == sorted(i for i, end in self.outcomes.items() if end is None)
            assert self.names_in("new") == set(), "poison blocks"
            assert self.spool.poisoned() == self.dropped

    @rule(fault=faults)
    def charge(self, fault: Fault | None) -> None:
        def operation() -> None:
            for record in self.spool.claimed():
                self.spool.update(record.model_copy(update={"attempts": record.attempts + 1, "started_at": NOW}))

        self.apply(fault, operation)
        for request_id, attempts in self.attempts.items():
            record = self.spool.get(request_id)
            assert record is not None
            assert record.attempts in {attempts, attempts + 1}
            self.attempts[request_id] = record.attempts

    @rule(fault=faults, outcome=st.sampled_from(Outcome), most=st.integers(1, 3))
    def finish(self, fault: Fault | None, outcome: Outcome, most: int) -> None:
        reported: list[str] = []

        def operation() -> None:
            for record in self.spool.claimed()[:most]:
                self.spool.finish(record, RetrainResult(outcome=outcome, reason="r", finished_at=NOW))
                reported.append(record.id)

        self.apply(fault, operation)
        for request_id, known in self.outcomes.items():
            record = self.spool.get(request_id)
            assert record is not None
            if known is None and record.result is not None:
                self.outcomes[request_id] = outcome
            assert record.result is not None or request_id not in reported

    @rule(fault=faults, hours=st.integers(0, 2))
    def sweep(self, fault: Fault | None, hours: int) -> None:
        now = datetime.now(UTC) + timedelta(hours=hours)
        if self.apply(fault, lambda: self.spool.sweep(now)) and fault is None and hours == 2:
            assert self.names_in("tmp") == set()

    # -- what strangers do -----------------------------------------------------------------------------

    @rule(folder=st.sampled_from(["new", "cur"]), kind=st.sampled_from(sorted(POISON)), name=names)
    def poison(self, folder: str, kind: str, name: str) -> None:
        path = self.root / folder / (f"{new_id()}.json" if name == "id" else name)
        if not path.exists() and not path.is_symlink():
            POISON[kind](path)
            self.dropped += 1

    @rule(data=st.data())
    def forge(self, data: st.DataObject) -> None:
        """Something under the name of a request that was claimed before."""
        known = sorted(i for i in self.outcomes if f"{i}.json" not in self.names_in("new"))
        if known:
            (self.root / "new" / f"{data.draw(st.sampled_from(known))}.json").write_text("{")
            self.dropped += 1

    # -- what must hold --------------------------------------------------------------------------------

    @invariant()
    def every_accepted_request_is_in_exactly_one_state(self) -> None:
        for request_id, outcome in self.outcomes.items():
            readable = [folder for folder in FOLDERS if self.is_readable(folder, request_id)]
            assert len(readable) == 1, f"{request_id} is in {readable}"
            record = self.spool.get(request_id)
            assert record is not None
            assert record.result is not None or readable != ["done"], f"{request_id} is done without an outcome"
            if outcome is not None:
                assert record.state == State(outcome), "went back from its outcome"
            else:
                assert record.result is None
                assert record.state is (State.RUNNING if self.attempts[request_id] else State.QUEUED)

    @invariant()
    def nothing_is_accepted_that_nobody_submitted(self) -> None:
        assert {record.id for record in self.spool.recent(10_000) if record.state is not State.FAILED} <= set(
            self.outcomes
        )

    def names_in(self, folder: str) -> set[str]:
        return {path.name for path in (self.root / folder).iterdir()}

    def is_readable(self, folder: str, request_id: str) -> bool:
        path = self.root / folder / f"{request_id}.json"
        return path.is_file() and path.read_text() != "{"


SpoolMachine.TestCase.settings = settings(
    max_examples=120,
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestSpool = SpoolMachine.TestCase
