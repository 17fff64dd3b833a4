"""Random operations on a store, compared with a list of rows."""

import shutil
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from src.quality.erased_rows import names_of
from tests.support.faults import Fault, Killed
from tests.support.quality_files import NOON, log_store, rows_table, stored_rows

REQUESTS = ("a", "b", "c")
KEYS = ("k", "a", None)
START = NOON - timedelta(days=3)


class Row(NamedTuple):
    id: str
    key: str | None
    time: datetime


hours = st.integers(0, 72).map(lambda number: START + timedelta(hours=number))
given_ids = st.sampled_from(REQUESTS).flatmap(lambda name: st.sampled_from([name, f"{name}/0", f"{name}/1", "k"]))
rows = st.builds(Row, st.sampled_from(["a", "b", "c", "a/1", "b/1", "c/1"]), st.sampled_from(KEYS), hours)
tables = st.lists(st.lists(rows, max_size=4), max_size=3)


def is_meant(row: Row, given: str) -> bool:
    """Whether an id stands for a row: as its request, its row number, or its key."""
    request, _, number = row.id.partition("/")
    return given in {request, f"{request}/{number or 0}", row.key}


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = log_store(self.folder)
        self.rows: list[Row] = []
        self.erased: dict[str, datetime] = {}
        self.added = 0

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(added=tables)
    def add(self, added: list[list[Row]]) -> None:
        expected = [row for part in added for row in part if not self.is_erased(row)]
        self.added += 1
        (self.folder / "segments").mkdir(exist_ok=True)
        source = self.folder / "segments" / f"{self.added}.ndjson"
        source.write_bytes(b"")
        assert self.store.add(map(self.table, added), [source.name]) == len(expected)
        assert not source.exists()
        self.rows += expected

    @rule(added=tables, step=st.integers(0, 12), when=st.sampled_from(["before", "after"]))
    def add_until_killed(self, added: list[list[Row]], step: int, when: str) -> None:
        before = self.stored()
        expected = [row for part in added for row in part if not self.is_erased(row)]
        try:
            with Fault(step, when).injected():
                self.store.add(map(self.table, added))
        except Killed:
            self.store.settle()
        if self.stored() != before:
            self.rows += expected

    @rule()
    def compact(self) -> None:
        self.store.compact()
        paths = self.store.paths()
        assert len(paths) == len({Path(path).parent for path in paths})

    @rule()
    def settle(self) -> None:
        self.store.settle()
        assert sorted(map(str, self.store.folder.glob("day=*/*"))) == sorted(self.store.paths())

    @rule(before=hours)
    def expire(self, before: datetime) -> None:
        """Files may have younger rows, too: those that expire have none."""
        kept = [file for file in self.store.manifest.files if file.last >= before]
        self.store.expire(before, 10**9)
        assert self.store.manifest.files == kept
        left = self.stored()
        assert {row for row in self.rows if row.time >= before} <= set(left)
        self.rows = left
        self.erased = {name: at for name, at in self.erased.items() if at >= before}

    @rule(given=given_ids, now=hours)
    def erase(self, given: str, now: datetime) -> None:
        meant = [row for row in self.rows if is_meant(row, given)]
        assert self.store.erase(names_of(given), now) == len(meant)
        self.rows = [row for row in self.rows if row not in meant]
        self.erased[given] = now

    @invariant()
    def store_has_the_rows_of_the_list(self) -> None:
        assert self.stored() == sorted(self.rows, key=repr)
        manifest = self.store.manifest
        assert manifest.rows == len(self.rows)
        assert [file.first for file in manifest.files] == sorted(file.first for file in manifest.files)

    def is_erased(self, row: Row) -> bool:
        by_id = any(is_meant(row._replace(key=None), given) for given in self.erased)
        return by_id or (row.key in self.erased and row.time <= self.erased[row.key])

    def table(self, added: list[Row]) -> pa.Table:
        parts = [rows_table([row.id], row.time, row.key) for row in added]
        return pa.concat_tables([rows_table([]), *parts])

    def stored(self) -> list[Row]:
        found = [Row(row["request_id"], row["key"], row["time"]) for row in stored_rows(self.store)]
        return sorted(found, key=repr)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=20, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestStoreMachine.pytestmark = [pytest.mark.slow]
