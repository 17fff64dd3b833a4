import errno
import json
import logging
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.core import audit_log
from src.core.audit_log import BLOCK_BYTES, MAX_LINE, MAX_READ, REPEAT_BYTES, AuditLog, Entry, Event
from src.core.errors import SpoolUnavailableError
from src.core.retrain_record import MAX_REASON, MAX_TEXT
from src.services.local.processes import REPOSITORY

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
WRITER = """
import pathlib, sys
from src.core.audit_log import AuditLog, Entry, Event
log = AuditLog(pathlib.Path(sys.argv[1]))
for number in range(50):
    own = Entry(event=Event.REJECTED, by=sys.argv[2], version=str(number))
    log.append(Entry(id="shared", event=Event.PROMOTED), own)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "audit" / "audit.ndjson"


def entry(entry_id: str, **given: Any) -> Entry:
    return Entry(id=entry_id, at=NOW, event=Event.PROMOTED, **given)


def ids(log: AuditLog, limit: int = 100, before: int | None = None) -> list[str]:
    return [found.id for found in log.recent(limit, before).entries]


def test_an_entry_is_read_as_it_was_written(file: Path) -> None:
    written = Entry(
        id="fact",
        at=NOW,
        event=Event.RETRAIN_ENDED,
        model="iris",
        version="3",
        previous="2",
        outcome="promoted",
        source="alert",
        by="api, 10.0.0.7",
        reason="better “by” 2 %",
        request_id="request",
        rollout_id="rollout",
    )
    AuditLog(file).append(written)
    assert AuditLog(file).recent(1) == ([written], None)
    assert json.loads(file.read_text(encoding="utf-8")) == written.model_dump(mode="json")


def test_fields_that_do_not_apply_are_left_out_of_the_file(file: Path) -> None:
    AuditLog(file).append(entry("fact"))
    assert file.read_bytes() == b'{"id":"fact","at":"2026-01-31T12:00:00Z","event":"promoted"}\n'


def test_entries_without_an_id_are_different_facts_of_now(file: Path) -> None:
    before = datetime.now(UTC)
    log = AuditLog(file)
    log.append(Entry(event=Event.ROLLED_BACK), Entry(event=Event.ROLLED_BACK))
    newest, oldest = log.recent(2).entries
    assert newest.id != oldest.id
    assert before <= oldest.at <= datetime.now(UTC)


def test_texts_are_cleaned_and_the_longest_entry_can_be_read(file: Path) -> None:
    long = "𝄞" * 5000
    texts = dict.fromkeys(
        ("model", "version", "previous", "outcome", "source", "by", "reason", "request_id", "rollout_id"), long
    )
    log = AuditLog(file)
    log.append(entry(long, **texts), entry("b", by='a\n"b"\x00\ud800\tc'))
    cleaned, longest = log.recent(2).entries
    assert cleaned.by == 'a "b" c'
    assert (len(longest.by or ""), len(longest.reason or "")) == (MAX_TEXT, MAX_REASON)
    assert file.read_bytes().count(b"\n") == 2


def test_without_a_file_there_are_no_entries(file: Path) -> None:
    log = AuditLog(file)
    assert log.recent(5) == ([], None)
    log.append()
    assert log.recent(5) == ([], None)


def test_a_repeated_fact_is_not_written_again(file: Path) -> None:
    log = AuditLog(file)
    log.append(entry("a", reason="first"), entry("b"))
    log.append(entry("a", reason="again"), entry("c"))
    AuditLog(file).append(entry("b"))
    assert ids(log) == ["c", "b", "a"]
    assert file.read_bytes().count(b"\n") == 3
    assert log.recent(3).entries[2].reason == "first"


def test_an_id_that_begins_like_another_is_another(file: Path) -> None:
    log = AuditLog(file)
    for one in ("fact-1", "fact", 'f"1', "f"):
        log.append(entry(one))
    log.append(entry('f"1'))
    assert ids(log) == ["f", 'f"1', "fact", "fact-1"]


def test_facts_are_compared_with_the_newest_part_and_readers_ignore_older_repeats(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "REPEAT_BYTES", 200)
    log = AuditLog(file)
    for one in ("a", "b", "c", "d"):
        log.append(entry(one))
    log.append(entry("a"), entry("d"))
    assert file.read_bytes().count(b"\n") == 5
    assert ids(log) == ["a", "d", "c", "b"]


@pytest.mark.parametrize("torn", [b'{"id":"torn","at":"2026-01-31T', b'{"id":"torn"', b"\xff"])
def test_a_torn_last_line_costs_that_line_only(file: Path, torn: bytes) -> None:
    log = AuditLog(file)
    log.append(entry("a"))
    with file.open("ab") as broken:
        broken.write(torn)
    assert ids(log) == ["a"]
    log.append(entry("torn"))
    log.append(entry("c"))
    assert ids(log) == ["c", "torn", "a"]


def test_a_last_line_that_lacks_only_its_end_counts(file: Path) -> None:
    log = AuditLog(file)
    log.append(entry("a"), entry("b"))
    os.truncate(file, file.stat().st_size - 1)
    log.append(entry("b"), entry("c"))
    assert ids(log) == ["c", "b", "a"]
    assert file.read_bytes().count(b"\n") == 3


@pytest.mark.parametrize("written", [0, 1, 30])
def test_a_full_disk_is_logged_and_counted_and_the_log_goes_on(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, written: int
) -> None:
    failures: list[None] = []
    log = AuditLog(file, lambda: failures.append(None))
    log.append(entry("a"))
    write, calls = os.write, []

    def full(descriptor: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) > 1 or not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[:written])

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(os, "write", full)
        log.append(entry("b", reason="why"))
    assert len(failures) == 1
    assert "No space left on device" in caplog.text
    assert '"reason":"why"' in caplog.text
    log.append(entry("b"), entry("c"))
    assert ids(log) == ["c", "b", "a"]
    assert len(failures) == 1


def test_a_write_in_pieces_is_completed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    AuditLog(file).append(entry("a"), entry("b"))
    assert ids(AuditLog(file)) == ["b", "a"]


def test_a_folder_that_cannot_be_used_does_not_stop_the_caller(tmp_path: Path) -> None:
    failures: list[None] = []
    (tmp_path / "audit").write_text("a file in its place")
    AuditLog(tmp_path / "audit" / "audit.ndjson", lambda: failures.append(None)).append(entry("a"))
    assert len(failures) == 1


def test_a_file_that_cannot_be_read_raises(tmp_path: Path) -> None:
    (tmp_path / "audit.ndjson").mkdir()
    with pytest.raises(SpoolUnavailableError, match=r"the audit log cannot be used \(Is a directory\)"):
        AuditLog(tmp_path / "audit.ndjson").recent(1)


def test_an_entry_is_on_the_disk_before_append_returns(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(os.fstat(descriptor).st_size if Path(f"/proc/self/fd/{descriptor}").readlink() == file else -1)

    monkeypatch.setattr(os, "fsync", noting)
    log = AuditLog(file)
    log.append(entry("a"))
    assert synced == [file.stat().st_size, -1]  # the file and, as it is new, its folder
    log.append(entry("b"))
    assert synced[2:] == [file.stat().st_size]


def test_lines_of_other_versions_and_other_text_are_skipped(file: Path) -> None:
    log = AuditLog(file)
    log.append(entry("a"))
    with file.open("ab") as other:
        other.write(b'{"id":"x","at":"2026-01-31T12:00:00Z","event":"of_the_future"}\n\nnot JSON\n')
        other.write(b'{"id":"b","at":"2026-01-31T12:00:00Z","event":"promoted","new_field":1}\n')
    assert ids(log) == ["b", "a"]


def test_a_line_longer_than_an_entry_is_skipped(file: Path) -> None:
    log = AuditLog(file)
    log.append(entry("a"))
    padded = entry("long").model_dump_json(exclude_none=True).encode()
    with file.open("ab") as other:
        other.write(padded[:-1] + b" " * (MAX_LINE - len(padded)) + b"}\n")
        other.write(padded.replace(b"long", b"over")[:-1] + b" " * (MAX_LINE + 1 - len(padded)) + b"}\n")
        other.write(b"x" * (3 * BLOCK_BYTES) + b"\n")
    log.append(entry("b"))
    assert ids(log) == ["b", "long", "a"]


def test_a_page_reads_a_bounded_part_of_a_damaged_file(file: Path) -> None:
    log = AuditLog(file)
    log.append(entry("a"))
    with file.open("ab") as other:
        other.write((b"x" * 1023 + b"\n") * (MAX_READ // 1024 + 100))
    log.append(entry("b"))
    page = log.recent(100)
    assert [found.id for found in page.entries] == ["b"]
    assert page.before is not None
    assert file.stat().st_size - page.before < MAX_READ + BLOCK_BYTES
    assert log.recent(100, page.before) == ([entry("a")], None)


def test_the_next_page_begins_at_the_oldest_entry_of_this_one(file: Path) -> None:
    log = AuditLog(file)
    log.append(*(entry(str(number)) for number in range(200)))
    assert log.recent(150).before == file.read_bytes().index(b'{"id":"50"')


@pytest.mark.parametrize("before", [0, 10, 10**12])
def test_any_position_is_accepted(file: Path, before: int) -> None:
    log = AuditLog(file)
    log.append(entry("a"))
    assert ids(log, before=before) == (["a"] if before > 10 else [])


# Short and long entries, repeated ids, and text that is no entry, with line ends at any place of a block.
LINES = st.lists(
    st.one_of(
        st.builds(lambda number, length: entry(str(number), by="é" * length), st.integers(0, 30), st.integers(0, 60)),
        st.sampled_from([b"", b"{}", b"x" * 70, b'{"id":"1"']),
    ),
    max_size=40,
)


@given(LINES, st.integers(1, 7), st.integers(30, 200), st.sampled_from([b"", b"\n"]))
def test_pages_give_every_entry_newest_first(lines: list[Any], limit: int, block: int, end: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit_log, "BLOCK_BYTES", block)
        file = Path(folder) / "audit.ndjson"
        raw = [line if isinstance(line, bytes) else line.model_dump_json().encode() for line in lines]
        file.write_bytes(b"\n".join(raw) + end)
        log, before, found = AuditLog(file), None, []
        while True:
            entries, before = log.recent(limit, before)
            assert len(entries) <= limit
            assert len({one.id for one in entries}) == len(entries)
            found += entries
            if before is None:
                break
            assert len(entries) == limit
    expected = [line for line in reversed(lines) if isinstance(line, Entry)]
    # Of each page, repeats are dropped, so what is found is a part of the list with every id, in its order.
    assert list(dict.fromkeys(one.id for one in found)) == list(dict.fromkeys(one.id for one in expected))
    rest = iter(expected)
    assert all(one in rest for one in found)


@pytest.mark.slow
def test_processes_that_write_at_once_lose_and_repeat_nothing(file: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(file), name], cwd=REPOSITORY, stderr=subprocess.PIPE)
        for name in ("w", "x", "y", "z")
    ]
    assert [(writer.communicate(timeout=60)[1], writer.returncode) for writer in writers] == [(b"", 0)] * 4
    lines = [Entry.model_validate_json(line) for line in file.read_bytes().splitlines()]
    assert [line.id for line in lines].count("shared") == 1
    for name in ("w", "x", "y", "z"):
        assert [line.version for line in lines if line.by == name] == [str(number) for number in range(50)]
    assert file.stat().st_size < REPEAT_BYTES
