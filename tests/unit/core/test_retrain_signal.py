"""The spool's operations one by one."""

import contextlib
import errno
import logging
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from src.core.errors import SpoolBusyError, SpoolFullError, SpoolUnavailableError, TrainerBusyError
from src.core.retrain_record import Outcome, RetrainRecord, RetrainResult, State, Step, new_id
from src.core.retrain_signal import STALE_TMP_SECONDS, RetrainSpool
from src.core.spool_files import MAX_RECORD_BYTES
from tests.support.faults import Fault, Killed, bad_disk, full_disk

NOW = datetime(2030, 1, 1, tzinfo=UTC)
# An id that no request has.
UNKNOWN = "01a22726-f7f2-7104-9972-81faa5b297a0"
PROMOTED = RetrainResult(outcome=Outcome.PROMOTED, reason="better", model_version="2", finished_at=NOW)


@pytest.fixture
def spool(tmp_path: Path) -> RetrainSpool:
    return RetrainSpool(tmp_path / "retrain").create()


def names(spool: RetrainSpool, folder: str) -> list[str]:
    return sorted(path.name for path in (spool.root / folder).iterdir())


def test_request_goes_from_queued_to_running_to_its_outcome(spool: RetrainSpool) -> None:
    submitted = spool.submit("alert")
    assert spool.get(submitted.id) == submitted
    assert (submitted.state, submitted.source) == (State.QUEUED, "alert")
    [claimed] = spool.claim()
    assert claimed == submitted
    spool.update(claimed.model_copy(update={"attempts": 1, "started_at": NOW}))
    running = spool.get(submitted.id)
    assert running is not None
    assert running.state is State.RUNNING
    ended = spool.finish(running, PROMOTED)
    assert spool.get(submitted.id) == ended
    assert (ended.state, ended.result) == (State.PROMOTED, PROMOTED)
    assert (names(spool, "new"), names(spool, "cur"), names(spool, "done")) == ([], [], [f"{ended.id}.json"])


def test_create_twice_keeps_what_is_there(spool: RetrainSpool) -> None:
    record = spool.submit("api")
    assert spool.create().get(record.id) == record


def test_create_asks_for_the_right_to_write(spool: RetrainSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: not str(path).endswith("done"))
    with pytest.raises(PermissionError) as caught:
        spool.create()
    assert caught.value.filename == str(spool.root / "done")


def test_claimed_is_ordered_by_id_and_not_by_file_time(spool: RetrainSpool) -> None:
    ids = [spool.submit("api").id for _ in range(5)]
    for age, request_id in enumerate(ids):
        os.utime(spool.root / "new" / f"{request_id}.json", (1e9 - age, 1e9 - age))
    assert [record.id for record in spool.claim()] == ids


def test_submit_refuses_more_than_may_wait(tmp_path: Path) -> None:
    spool = RetrainSpool(tmp_path, max_pending=2).create()
    spool.submit("api")
    spool.submit("api")
    with pytest.raises(SpoolBusyError, match="2 retrain requests are pending"):
        spool.submit("api")
    spool.claim()
    spool.submit("api")


@pytest.mark.parametrize("step", range(4))  # create, fsync, rename, fsync of the folder
def test_submit_on_a_full_disk_leaves_nothing(spool: RetrainSpool, step: int) -> None:
    with full_disk(step).injected(), pytest.raises(SpoolFullError, match="free some space"):
        spool.submit("api")
    assert (names(spool, "new"), names(spool, "tmp")) == ([], [])


@pytest.mark.parametrize("step", range(7))  # list, create, fsync, rename, then open, fsync of the folder
def test_submit_on_a_bad_disk_leaves_nothing_and_says_what_failed(spool: RetrainSpool, step: int) -> None:
    fault = bad_disk(step)
    if step == 6:
        with fault.injected():
            spool.submit("api")
        assert not fault.struck, "a step that is not tested"
        return
    with fault.injected(), pytest.raises(SpoolUnavailableError, match="Input/output error"):
        spool.submit("api")
    assert (names(spool, "new"), names(spool, "tmp")) == ([], [])


def test_submit_on_a_real_full_disk_leaves_nothing(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a tiny disk needs root and the right to mount")
    try:
        spool = RetrainSpool(tmp_path / "retrain").create()
        filler = tmp_path / "filler"
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(b"x" * 200_000)
        with pytest.raises(SpoolFullError):
            spool.submit("api")
        assert (names(spool, "new"), names(spool, "tmp")) == ([], [])
        filler.unlink()
        assert spool.claim() == []
        assert spool.get(spool.submit("api").id) is not None
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize(
    "request_id", ["", "x", "../../etc/passwd", "\0", "a" * 5000, f"{UNKNOWN}\n", UNKNOWN.upper(), UNKNOWN]
)
def test_get_of_an_unknown_id_is_none(spool: RetrainSpool, request_id: str) -> None:
    assert spool.get(request_id) is None


def test_get_of_an_accepted_request_that_was_spoilt_is_failed(spool: RetrainSpool) -> None:
    record = spool.submit("api")
    (spool.root / "new" / f"{record.id}.json").write_text("{")
    spool.claim()
    spoilt = spool.get(record.id)
    assert spoilt is not None
    assert spoilt.state is State.FAILED
    assert abs(spoilt.submitted_at - record.submitted_at) < timedelta(seconds=1)


def test_recent_is_newest_first_in_any_state(spool: RetrainSpool) -> None:
    ids = [spool.submit("api").id for _ in range(2)]
    spool.finish(spool.claim()[0], PROMOTED)
    ids.append(spool.submit("api").id)
    assert [record.id for record in spool.recent(10)] == ids[::-1]
    assert [record.state for record in spool.recent(2)] == [State.QUEUED, State.QUEUED]
    assert spool.recent(10)[-1].state is State.PROMOTED


def test_recent_survives_a_forged_id_beyond_all_dates(spool: RetrainSpool) -> None:
    (spool.root / "new" / "ffffffff-ffff-7fff-bfff-ffffffffffff.json").write_text("{")
    spool.claim()
    assert [record.state for record in spool.recent(10)] == [State.FAILED]


# -- poison --------------------------------------------------------------------------------------------


def poisonous(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_poison_is_moved_to_bad_with_its_reason_and_blocks_no_other_request(
    spool: RetrainSpool, caplog: pytest.LogCaptureFixture
) -> None:
    poisonous(spool.root / "new" / "0.json", b"{")
    record = spool.submit("api")
    assert spool.claim() == [record]
    assert names(spool, "bad") == ["0.json", "0.json.reason"]
    assert "Invalid JSON" in (spool.root / "bad" / "0.json.reason").read_text()
    assert "Invalid JSON" in caplog.text
    assert spool.poisoned() == 1
    assert spool.depths() == {"new": 0, "cur": 1, "bad": 1}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Invalid JSON"),
        (b"[]", "not a retrain record"),
        (b'{"id":"x"}', "not a retrain record: id"),
        (b" " * (MAX_RECORD_BYTES + 1), f"larger than {MAX_RECORD_BYTES} bytes"),
        (b'{"id":"%s","source":"api","submitted_at":"2030-01-01T00:00:00Z"}' % UNKNOWN.encode(), "not its id"),
    ],
)
def test_poison_reason_says_what_is_wrong(spool: RetrainSpool, content: bytes, reason: str) -> None:
    poisonous(spool.root / "new" / "x.json", content)
    assert spool.claim() == []
    assert reason in (spool.root / "bad" / "x.json.reason").read_text()


@pytest.mark.parametrize("field", ["container", "image", "command"])
def test_signal_that_names_what_to_run_is_poison(spool: RetrainSpool, field: str) -> None:
    record = spool.submit("api")
    path = spool.root / "new" / f"{record.id}.json"
    path.write_text(path.read_text()[:-1] + f',"{field}":"x"}}')
    assert spool.claim() == []
    assert field in (spool.root / "bad" / f"{record.id}.json.reason").read_text()


def test_symlink_is_poison_and_is_not_followed(spool: RetrainSpool, tmp_path: Path) -> None:
    record = spool.submit("api")
    path = spool.root / "new" / f"{record.id}.json"
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    assert spool.claim() == []
    assert (tmp_path / "elsewhere.json").exists()


def test_fifo_is_poison_and_does_not_hang(spool: RetrainSpool) -> None:
    os.mkfifo(spool.root / "new" / "pipe.json")
    assert spool.claim() == []
    assert "not a regular file" in (spool.root / "bad" / "pipe.json.reason").read_text()


def test_poison_of_the_same_long_name_is_kept_twice(spool: RetrainSpool) -> None:
    name = "é" * 120 + ".json"
    for _ in range(2):
        poisonous(spool.root / "new" / name, b"{")
        assert spool.claim() == []
    assert spool.poisoned() == 2


@pytest.mark.parametrize("claimed_as", ["cur", "done"])
def test_forged_copy_of_a_claimed_request_changes_nothing(spool: RetrainSpool, claimed_as: str) -> None:
    record = spool.submit("api")
    copy = (spool.root / "new" / f"{record.id}.json").read_bytes()
    [record] = spool.claim()
    if claimed_as == "done":
        record = spool.finish(record, PROMOTED)
    poisonous(spool.root / "new" / f"{record.id}.json", copy)
    spool.claim()
    assert spool.get(record.id) == record
    assert (names(spool, "new"), spool.poisoned()) == ([], 1)


def test_get_of_an_accepted_request_that_is_spoilt_before_it_is_claimed_is_failed(spool: RetrainSpool) -> None:
    request_id = spool.submit("api").id
    (spool.root / "new" / f"{request_id}.json").write_text("{")
    for look in (lambda: spool.get(request_id), lambda: spool.recent(5)[0]):
        spoilt = look()
        assert spoilt is not None
        assert (spoilt.id, spoilt.state) == (request_id, State.FAILED)


def fail_opening(monkeypatch: pytest.MonkeyPatch, record: RetrainRecord, code: int) -> None:
    """Have one record's file refuse to be opened, wherever it lies."""
    real = os.open

    def refusing(path: object, *arguments: int) -> int:
        if str(path).endswith(f"{record.id}.json"):
            raise OSError(code, os.strerror(code))
        return real(path, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refusing)


def test_signal_that_is_closed_to_us_is_poison(spool: RetrainSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    record = spool.submit("api")
    fail_opening(monkeypatch, record, errno.EACCES)
    assert spool.claim() == []
    assert "Permission denied" in (spool.root / "bad" / f"{record.id}.json.reason").read_text()


@pytest.mark.parametrize("name", ["new", "cur", "done"])
def test_folder_that_is_closed_to_us_is_no_answer(
    spool: RetrainSpool, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    closed = str(spool.root / name) + os.sep

    def refuse(real: Callable[..., object]) -> Callable[..., object]:
        def call(path: object, *arguments: object, **options: object) -> object:
            if str(path).startswith(closed):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return real(path, *arguments, **options)

        return call

    request_id = new_id()
    for call in ("open", "lstat", "stat"):
        monkeypatch.setattr(os, call, refuse(getattr(os, call)))
    with pytest.raises(SpoolUnavailableError, match="Permission denied"):
        spool.get(request_id)


@pytest.mark.parametrize("ask", [lambda s, i: s.get(i), lambda s, _: s.recent(5), lambda s, _: s.has_waiting()])
def test_disk_that_cannot_be_read_for_now_is_no_answer(
    spool: RetrainSpool, ask: Callable[[RetrainSpool, str], object]
) -> None:
    request_id = spool.submit("api").id
    with bad_disk(0).injected(), pytest.raises(SpoolUnavailableError, match="Input/output error"):
        ask(spool, request_id)
    assert ask(spool, request_id)


def test_folder_that_is_gone_is_no_answer(spool: RetrainSpool) -> None:
    request_id = spool.submit("api").id
    spool.root.rename(spool.root.with_name("away"))
    for ask in (
        lambda: spool.get(request_id),
        lambda: spool.recent(5),
        lambda: spool.submit("api"),
        spool.has_waiting,
    ):
        with pytest.raises(SpoolUnavailableError, match="No such file or directory"):
            ask()


@pytest.mark.parametrize("name", ["new", "cur", "done"])
def test_get_misses_no_single_folder(spool: RetrainSpool, name: str) -> None:
    (spool.root / name).rename(spool.root / "away")
    with pytest.raises(SpoolUnavailableError, match="No such file or directory"):
        spool.get(new_id())


def test_get_finds_a_request_that_moves_on_between_two_looks(
    spool: RetrainSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = spool.submit("api").id
    (record,) = spool.claim()
    real = os.open

    def moving_on(path: object, *arguments: int) -> int:
        try:
            return real(path, *arguments)  # type: ignore[arg-type]
        except FileNotFoundError:  # the first look: the request moves before the second
            monkeypatch.undo()
            spool.finish(record, PROMOTED)
            raise

    monkeypatch.setattr(os, "open", moving_on)
    found = spool.get(request_id)
    assert found is not None
    assert found.state is State.PROMOTED


def test_lock_follows_no_link(spool: RetrainSpool, tmp_path: Path) -> None:
    (spool.root / "trainer.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"), spool.lock():
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_disk_that_cannot_be_read_for_now_makes_no_poison(
    spool: RetrainSpool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = spool.submit("api"), spool.submit("api")
    spool.claim()
    fail_opening(monkeypatch, first, errno.EIO)
    with caplog.at_level(logging.ERROR):
        assert spool.claimed() == [second]
        assert spool.claimed() == [second]
    assert len(caplog.records) == 1
    monkeypatch.undo()
    assert spool.claimed() == [first, second]


def test_entry_that_cannot_be_moved_blocks_no_other_request_and_is_logged_once(
    spool: RetrainSpool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    poisonous(spool.root / "new" / "0.json", b"{")
    record = spool.submit("api")
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        if source.name == "0.json":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    assert spool.claim() == [record]
    assert spool.claim() == [record]
    assert [record.getMessage().count("cannot move it (Permission denied)") for record in caplog.records] == [1]


# -- what a crash leaves behind ------------------------------------------------------------------------


def test_claimed_moves_on_what_has_an_outcome(spool: RetrainSpool) -> None:
    spool.submit("api")
    [record] = spool.claim()
    spool.update(record.model_copy(update={"result": PROMOTED}))
    assert spool.claimed() == []
    assert names(spool, "done") == [f"{record.id}.json"]


def test_each_move_is_durable_before_it_is_reported(spool: RetrainSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    real = {"fsync": os.fsync, "rename": os.rename}
    folders = {(spool.root / name).stat().st_ino: name for name in ("new", "cur", "done")}
    undurable: set[str] = set()

    def rename(source: Path, target: Path) -> None:
        real["rename"](source, target)
        undurable.update({source.parent.name, target.parent.name} - {"tmp"})  # what is half written may be lost

    def fsync(descriptor: int) -> None:
        real["fsync"](descriptor)
        undurable.discard(folders.get(os.fstat(descriptor).st_ino, ""))

    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(os, "fsync", fsync)
    spool.submit("api")
    assert undurable == set(), "after submit"
    [record] = spool.claim()
    assert undurable == set(), "after claim"
    spool.finish(record, PROMOTED)
    assert undurable == set(), "after finish"


@pytest.mark.parametrize("when", ["before", "after"])
def test_kill_at_any_instruction_of_finish_leaves_the_outcome_complete_or_absent(tmp_path: Path, when: str) -> None:
    for step in range(100):
        spool = RetrainSpool(tmp_path / str(step)).create()
        spool.submit("api")
        [record] = spool.claim()
        fault = Fault(step, when=when)
        with fault.injected(), contextlib.suppress(Killed):
            spool.finish(record, PROMOTED)
        found = spool.get(record.id)
        assert found is not None, f"lost at step {step}"
        assert found.result in {None, PROMOTED}
        done = found.result is not None
        assert done or names(spool, "done") == [], f"done without an outcome at step {step}"
        assert RetrainSpool(spool.root).claimed() == ([] if done else [record])
        assert names(spool, "done") == ([f"{record.id}.json"] if done else [])
        if not fault.struck:
            assert step > 8, "the steps of finish are not all seen"
            return
    raise AssertionError("finish never ends")


def test_update_overwrites_an_incomplete_file_of_a_killed_holder(spool: RetrainSpool) -> None:
    spool.submit("api")
    [record] = spool.claim()
    poisonous(spool.root / "tmp" / f"{record.id}.json", b"{half")
    spool.update(record.model_copy(update={"attempts": 1}))
    assert [after.attempts for after in spool.claimed()] == [1]
    assert names(spool, "tmp") == []


def test_update_replaces_the_file_under_a_reader_in_one_step(spool: RetrainSpool) -> None:
    spool.submit("api")
    [record] = spool.claim()
    with (spool.root / "cur" / f"{record.id}.json").open() as reader:
        spool.update(record.model_copy(update={"attempts": 1}))
        assert RetrainRecord.model_validate_json(reader.read()) == record


def test_sweep_deletes_only_what_is_stale_and_ours(spool: RetrainSpool) -> None:
    stale, folder = f"{new_id()}.json", f"{new_id()}.json"
    (spool.root / "tmp" / stale).touch()
    (spool.root / "tmp" / folder).mkdir()
    (spool.root / "tmp" / "README").touch()
    now = datetime.now(UTC)
    assert spool.sweep(now + timedelta(seconds=STALE_TMP_SECONDS - 60)) == 0
    assert spool.sweep(now + timedelta(seconds=STALE_TMP_SECONDS + 60)) == 1
    assert names(spool, "tmp") == sorted(["README", folder])


def test_largest_possible_record_can_be_read_again(spool: RetrainSpool) -> None:
    spool.submit("api")
    [record] = spool.claim()
    widest = "\U0001f600" * 2000
    scores = {f"{number:03d}".ljust(64, "m"): -1.2345678901234567e-300 for number in range(50)}
    result = RetrainResult(
        outcome=Outcome.REJECTED,
        reason=widest,
        mlflow_run_id="f" * 32,
        model_name="m" * 100,
        challenger=scores,
        champion=scores,
        step_seconds=dict.fromkeys(Step, 86400.1234567),
        finished_at=NOW,
    )
    given = record.model_dump(exclude={"cause", "last_error", "progress"})
    full = RetrainRecord(**given, cause=widest, last_error=widest, progress=widest)
    spool.update(full)
    assert spool.claimed() == [full]
    assert spool.get(spool.finish(full, result).id) is not None


# -- the lock ------------------------------------------------------------------------------------------


def test_lock_is_held_by_one_at_a_time(spool: RetrainSpool) -> None:
    with spool.lock(), pytest.raises(TrainerBusyError), RetrainSpool(spool.root).lock():
        raise AssertionError("two holders")
    with RetrainSpool(spool.root).lock():
        pass


@pytest.mark.parametrize("outcome", list(Outcome))
def test_only_a_failed_request_keeps_its_last_error(spool: RetrainSpool, outcome: Outcome) -> None:
    spool.submit("api")
    (record,) = spool.claim()
    spool.update(record.with_error("the disk was full"))
    (record,) = spool.claimed()
    spool.finish(record, RetrainResult(outcome=outcome, reason="why", finished_at=datetime.now(UTC)))
    ended = spool.get(record.id)
    assert ended is not None
    assert ended.last_error == ("the disk was full" if outcome is Outcome.FAILED else None)
