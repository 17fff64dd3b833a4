import json
import logging
import os
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from src.core.feedback import Label
from src.quality import ingest_labels, label_staging
from src.quality.ingest_labels import Ingested, LabelRules, ingest_feedback, ingest_folder, ingest_query
from src.quality.label_rows import RawLabel
from src.quality.parquet_store import ParquetStore
from src.quality.segments import BAD_FOLDER
from src.quality.stores import label_store
from tests.support.faults import Fault, Killed
from tests.support.quality_files import MODEL, NOON, stored_rows

RULES = LabelRules()
SECOND = timedelta(seconds=1)
CSV = "request_id,label,time\na,1,\nb,2,2026-03-01\n"


@pytest.fixture
def store(tmp_path: Path) -> ParquetStore:
    return new_store(tmp_path)


def new_store(root: Path) -> ParquetStore:
    store = label_store(root / "quality", MODEL)
    store.folder.mkdir(parents=True)
    (root / "quality/feedback").mkdir()
    (root / "labels").mkdir()
    return store


def feedback_of(store: ParquetStore) -> Path:
    return store.folder.parents[1] / "feedback"


def labels_of(store: ParquetStore) -> Path:
    return store.folder.parents[2] / "labels"


def send(store: ParquetStore, name: str, *labels: Label, end: str = "") -> Path:
    path = feedback_of(store) / f"{name}.ndjson"
    path.write_text("".join(label.model_dump_json() + "\n" for label in labels) + end, encoding="utf-8")
    return path


def drop(store: ParquetStore, name: str, content: str, modified: datetime = NOON - 5 * SECOND) -> Path:
    path = labels_of(store) / name
    path.write_text(content, encoding="utf-8")
    os.utime(path, (modified.timestamp(), modified.timestamp()))
    return path


def found(store: ParquetStore, *names: str) -> list[tuple[Any, ...]]:
    rows = stored_rows(store)
    return sorted((tuple(row[name] for name in names or ("request_id", "label")) for row in rows), key=repr)


def sent(request_id: str | None, label: str, received: datetime = NOON, **more: Any) -> Label:
    return Label(request_id=request_id, label=label, received=received, **more)


def ingest(store: ParquetStore, now: datetime = NOON, rules: LabelRules = RULES) -> Ingested:
    return ingest_folder(store, labels_of(store), rules, now)


# -- feedback --------------------------------------------------------------------------------------------


def test_labels_that_were_sent_are_stored_and_their_files_deleted(store: ParquetStore) -> None:
    send(store, "a", sent("r1", "x", time=NOON - SECOND), sent("r2/0", "y"), sent("r3/4", "z"))
    send(store, "b", sent(None, "x", NOON + SECOND, key="k"))
    rules = LabelRules(logged_key=lambda key: f"hidden {key}")
    assert ingest_feedback(store, feedback_of(store), rules) == 4
    assert found(store, "request_id", "key", "label", "time", "received", "source") == [
        ("r1", None, "x", NOON - SECOND, NOON, None),
        ("r2", None, "y", None, NOON, None),
        ("r3/4", None, "z", None, NOON, None),
        (None, "hidden k", "x", None, NOON + SECOND, None),
    ]
    assert list(feedback_of(store).iterdir()) == []


def test_every_label_is_kept_but_of_those_of_one_request_the_last(store: ParquetStore) -> None:
    send(store, "a", sent("r1", "x"), sent("r1", "y"), sent(None, "x", key="r1"))
    send(store, "b", sent("r1", "x", NOON + SECOND), sent("r1", "x", NOON + 2 * SECOND))
    assert ingest_feedback(store, feedback_of(store), RULES) == 4
    received = [("y", NOON), ("x", NOON), ("x", NOON + SECOND), ("x", NOON + 2 * SECOND)]
    assert sorted(found(store, "label", "received")) == sorted(received)


BAD_LINES = {
    "half a line": '{"request_id"',
    "no label": '{"request_id": "a"}',
    "no id": sent(None, "secret").model_dump_json(),
    "id and key": sent("a", "secret", key="k").model_dump_json(),
    "no JSON": "secret",
}


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES)
def test_file_with_something_else_is_set_aside_as_a_whole_and_the_others_are_stored(
    store: ParquetStore, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    send(store, "a", sent("r1", "x"))
    send(store, "b", sent("r2", "x"), end=line)
    send(store, "c", sent("r3", "x"))
    with caplog.at_level(logging.ERROR):
        assert ingest_feedback(store, feedback_of(store), RULES) == 2
    assert found(store, "request_id") == [("r1",), ("r3",)]
    assert [path.name for path in (feedback_of(store) / BAD_FOLDER).iterdir()] == ["b.ndjson"]
    (record,) = caplog.records
    assert "an unreadable file of labels: " in record.getMessage()
    assert "secret" not in record.getMessage()


def test_many_labels_are_staged_in_parts_and_a_bad_file_takes_none_of_them_away(
    store: ParquetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_staging, "BATCH_ROWS", 2)
    send(store, "a", *(sent(f"r{number}", "x") for number in range(5)))
    send(store, "b", *(sent(f"s{number}", "x") for number in range(5)), end="{")
    send(store, "c", *(sent(f"r{number}", "y") for number in range(4, 7)))
    assert ingest_feedback(store, feedback_of(store), RULES) == 7
    expected = {f"r{number}": "x" for number in range(4)} | {"r4": "y", "r5": "y", "r6": "y"}
    assert dict(found(store)) == expected
    assert not (store.folder / "spill").exists()


def test_temporary_files_of_a_killed_process_are_deleted(store: ParquetStore) -> None:
    (store.folder / "spill").mkdir()
    (store.folder / "spill/left.tmp").write_bytes(b"labels")
    send(store, "a", sent("r1", "x"))
    ingest_feedback(store, feedback_of(store), RULES)
    assert not (store.folder / "spill").exists()


def test_files_are_stored_in_groups(store: ParquetStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_labels, "MAX_BYTES", 1)
    for name in "ab":
        send(store, name, sent(name, "x"))
    assert ingest_feedback(store, feedback_of(store), RULES) == 2
    assert len(store.manifest.files) == 2


# -- files -----------------------------------------------------------------------------------------------


def test_file_is_read_once_and_stays(store: ParquetStore) -> None:
    path = drop(store, "labels.csv", CSV)
    labels_of(store).chmod(0o500)
    assert ingest(store) == Ingested(2)
    assert found(store, "request_id", "key", "label", "time", "received", "source") == [
        ("a", None, "1", None, NOON, "labels.csv"),
        ("b", None, "2", datetime(2026, 3, 1, 23, 59, 59, 999999, tzinfo=NOON.tzinfo), NOON, "labels.csv"),
    ]
    before = store.manifest
    assert [file.name for file in before.read] == ["labels.csv"]
    assert ingest(store, NOON + 60 * SECOND) == Ingested(0)
    assert store.manifest == before
    assert path.read_text(encoding="utf-8") == CSV


@pytest.mark.parametrize(("age", "stored"), [(4.99, 0), (5.0, 2), (0.0, 0), (-4.99, 0), (-5.0, 2)])
def test_file_is_read_when_it_has_not_changed_for_five_seconds(store: ParquetStore, age: float, stored: int) -> None:
    drop(store, "labels.csv", CSV, NOON - age * SECOND)
    assert ingest(store) == Ingested(stored)
    assert len(store.manifest.read) == bool(stored)


def test_file_that_changes_while_it_is_read_is_read_again(store: ParquetStore, monkeypatch: pytest.MonkeyPatch) -> None:
    path = drop(store, "labels.csv", CSV)
    real = ingest_labels.read_labels

    def read_slowly(*arguments: Any) -> Any:
        yield from real(*arguments)
        os.utime(path, (NOON.timestamp(), NOON.timestamp()))

    with monkeypatch.context() as patched:
        patched.setattr(ingest_labels, "read_labels", read_slowly)
        assert ingest(store) == Ingested(0)
    assert (store.manifest.read, store.paths()) == ([], [])
    assert ingest(store, NOON + 5 * SECOND) == Ingested(2)


def test_file_with_another_time_and_the_same_content_is_not_read_again(
    store: ParquetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(store, "labels.csv", CSV + "c,,\n")
    problems = ingest(store).problems
    assert problems
    drop(store, "labels.csv", CSV + "c,,\n", NOON)
    monkeypatch.setattr(ingest_labels, "read_labels", None)
    assert ingest(store, NOON + 60 * SECOND) == Ingested(0, problems)
    (read,) = store.manifest.read
    assert read.modified_ns == NOON.timestamp() * 1e9


def test_of_a_changed_file_only_what_is_new_is_stored(store: ParquetStore) -> None:
    drop(store, "labels.csv", CSV)
    ingest(store)
    later = NOON + 60 * SECOND
    drop(store, "labels.csv", "request_id,label,time\na,1,\nb,3,2026-03-01\nc,1,\n", NOON)
    assert ingest(store, later) == Ingested(2)
    assert found(store, "request_id", "label", "received") == [
        ("a", "1", NOON),
        ("b", "2", NOON),
        ("b", "3", later),
        ("c", "1", later),
    ]


def test_label_that_goes_back_to_an_earlier_one_is_new(store: ParquetStore) -> None:
    for minute, label in enumerate(["x", "y", "x", "x"]):
        drop(store, "labels.ndjson", json.dumps({"id": "k", "label": label}), NOON + minute * 60 * SECOND)
        ingest(store, NOON + (minute * 60 + 30) * SECOND, LabelRules(("x", "y")))
    newest = sorted(stored_rows(store), key=lambda row: row["received"])
    assert [row["label"] for row in newest] == ["x", "y", "x"]


def test_label_without_a_change_does_not_override_what_was_sent_since(store: ParquetStore) -> None:
    drop(store, "labels.csv", CSV)
    ingest(store)
    send(store, "a", sent("a", "9", NOON + SECOND))
    ingest_feedback(store, feedback_of(store), RULES)
    drop(store, "labels.csv", CSV + "c,1,\n", NOON)
    assert ingest(store, NOON + 60 * SECOND) == Ingested(1)
    assert max((row["received"], row["label"]) for row in stored_rows(store) if row["request_id"] == "a")[1] == "9"


def test_two_files_may_say_the_same(store: ParquetStore) -> None:
    drop(store, "a.csv", CSV)
    drop(store, "b.csv", CSV)
    assert ingest(store) == Ingested(4)


def test_last_row_of_an_id_counts_also_in_a_file_of_many_parts(
    store: ParquetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_staging, "BATCH_ROWS", 2)
    lines = [f"{name},{label},\n" for label in (1, 2, 3) for name in "abc"]
    drop(store, "labels.csv", "request_id,label,time\n" + "".join(lines))
    assert ingest(store) == Ingested(3)
    assert found(store) == [("a", "3"), ("b", "3"), ("c", "3")]


def test_invalid_rows_are_left_out_and_listed(store: ParquetStore, caplog: pytest.LogCaptureFixture) -> None:
    wrong = "".join(f"c{number},,\n" for number in range(6))
    drop(store, "labels.csv", CSV + ",1,\n" + wrong + "d,secret,tomorrow\n")
    done = ingest(store)
    assert (done.stored, found(store)) == (2, [("a", "1"), ("b", "2")])
    problem = (
        "labels.csv has 8 invalid rows of 10, left out: line 4 has no id; line 5 has no label; "
        "line 6 has no label; line 7 has no label; line 8 has no label; …"
    )
    assert done.problems == [problem]
    assert ingest(store).problems == [problem]
    assert "secret" not in caplog.text
    drop(store, "labels.csv", CSV, NOON)
    assert ingest(store, NOON + 60 * SECOND).problems == []


def test_five_invalid_rows_are_all_listed(store: ParquetStore) -> None:
    drop(store, "labels.ndjson", "[]\n" * 5)
    (problem,) = ingest(store).problems
    assert problem.startswith("labels.ndjson has 5 invalid rows of 5, left out: line 1 is not a JSON object;")
    assert problem.endswith("; line 5 is not a JSON object")


def test_file_of_another_form_is_reported_until_it_is_gone_and_the_others_are_read(store: ParquetStore) -> None:
    bad, half = drop(store, "a.xlsx", "x"), drop(store, "b.csv", "request_id,label\na,1\n" + '"' + "x\n" * 100_000)
    drop(store, "c.csv", CSV)
    drop(store, ".hidden.csv", CSV)
    (labels_of(store) / "folder.csv").mkdir()
    done = ingest(store)
    assert (done.stored, [problem.split(" ")[0] for problem in done.problems]) == (2, ["a.xlsx", "b.csv"])
    assert done.problems[0].startswith("a.xlsx is not a file of labels; its name must end with")
    assert ingest(store, NOON + 60 * SECOND) == Ingested(0, done.problems)
    bad.unlink()
    half.unlink()
    assert ingest(store) == Ingested(0)
    assert [file.name for file in store.manifest.read] == ["c.csv"]


def test_file_that_cannot_be_opened_is_tried_again(store: ParquetStore, monkeypatch: pytest.MonkeyPatch) -> None:
    path = drop(store, "a.csv", CSV)
    drop(store, "b.csv", CSV)
    real = Path.open

    def refuse(self: Path, *arguments: Any, **options: Any) -> Any:
        if self == path:
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refuse)
        assert ingest(store) == Ingested(2, ["a.csv cannot be read (Permission denied)"])
    assert ingest(store) == Ingested(2)


def test_file_that_comes_back_is_read_again_and_says_nothing_new(store: ParquetStore) -> None:
    path = drop(store, "labels.csv", CSV)
    ingest(store)
    path.unlink()
    assert ingest(store) == Ingested(0)
    assert store.manifest.read == []
    drop(store, "labels.csv", CSV)
    assert ingest(store) == Ingested(0)
    assert len(store.manifest.read) == 1


def test_missing_folder_has_no_labels(store: ParquetStore) -> None:
    labels_of(store).rmdir()
    assert ingest(store) == Ingested(0)


def test_erased_ids_do_not_come_back_with_a_changed_file(store: ParquetStore) -> None:
    drop(store, "labels.csv", "id,label,time\nk,1,\nm,2,2026-03-01\nn,3,\n")
    ingest(store)
    store.erase(["k", "m"], NOON)
    drop(store, "labels.csv", "id,label,time\nk,1,\nm,2,2026-03-01\nn,3,\nm,1,2026-03-05\n", NOON)
    assert ingest(store, NOON + 60 * SECOND) == Ingested(1)
    assert found(store, "key", "label") == [("m", "1"), ("n", "3")]


def test_classes_and_hidden_keys(store: ParquetStore) -> None:
    drop(store, "labels.ndjson", '{"id": "k", "label": true}')
    ingest(store, rules=LabelRules(("no", "yes"), logged_key=str.upper))
    assert found(store, "key", "label") == [("K", "yes")]


@pytest.mark.parametrize(
    ("rules", "stored", "wrong", "reason"),
    [
        (LabelRules(("x", "y")), [("a", "x")], 2, "has a label that is not one of dataset.classes"),
        (LabelRules(), [("b", "2")], 1, "has a label that is not a finite number"),
    ],
)
def test_labels_that_the_model_cannot_have_are_left_out(
    store: ParquetStore, rules: LabelRules, stored: list[tuple[str, str]], wrong: int, reason: str
) -> None:
    problem = "has 1 invalid row of 2, left out:"
    drop(store, "labels.csv", "request_id,label\na,x\nb,2\n")
    assert ingest(store, rules=rules) == Ingested(1, [f"labels.csv {problem} line {wrong + 1} {reason}"])
    raw = rows(("a", None, "x", None), ("b", None, 2, None))
    done = ingest_query(store, raw, rules, NOON)
    assert done == Ingested(1, [f"the query of labels {problem} row {wrong} {reason}"])
    assert found(store) == stored * 2


def test_labels_that_inference_has_accepted_are_stored_whatever_the_configuration_says(store: ParquetStore) -> None:
    send(store, "a", sent("a", "daisy"))
    for rules in (LabelRules(("x", "y")), LabelRules()):
        ingest_feedback(store, feedback_of(store), rules)
    assert found(store) == [("a", "daisy")]


def test_folder_whose_name_is_like_a_pattern(tmp_path: Path) -> None:
    store = new_store(tmp_path / "[a] *?")
    drop(store, "labels.csv", CSV)
    assert ingest(store) == Ingested(2)
    drop(store, "labels.csv", CSV + "c,1,\n", NOON)
    assert ingest(store, NOON + 60 * SECOND) == Ingested(1)


# -- query -----------------------------------------------------------------------------------------------


def rows(*labels: tuple[Any, ...]) -> Sequence[RawLabel]:
    return [RawLabel(*label) for label in labels]


def test_of_a_query_only_what_is_new_is_stored(store: ParquetStore) -> None:
    first = rows(("a", None, 1, None), (None, "k", 0.5, NOON), ("b", None, "", None))
    problem = "the query of labels has 1 invalid row of 3, left out: row 3 has no label"
    assert ingest_query(store, first, RULES, NOON) == Ingested(2, [problem])
    assert ingest_query(store, first, RULES, NOON + SECOND) == Ingested(0, [problem])
    assert ingest_query(store, rows(("a", None, 2, None)), RULES, NOON + SECOND) == Ingested(1)
    assert found(store, "request_id", "key", "label", "time", "source") == [
        ("a", None, "1", None, "query"),
        ("a", None, "2", None, "query"),
        (None, "k", "0.5", NOON, "query"),
    ]


@pytest.mark.parametrize("label", [None, float("nan")])
def test_rows_of_a_query_without_a_label_are_not_labelled_yet(store: ParquetStore, label: object) -> None:
    found_rows = rows(("a", None, label, None), ("b", None, "x", None), ("c", None, label, None), ("d", None, 1, None))
    problem = "the query of labels has 1 invalid row of 2, left out: row 2 has a label that is not"
    done = ingest_query(store, found_rows, RULES, NOON)
    assert (done.stored, done.problems[0][: len(problem)]) == (1, problem)
    assert found(store) == [("d", "1")]


def test_nothing_is_stored_when_the_query_fails_halfway(store: ParquetStore) -> None:
    def failing() -> Any:
        yield RawLabel("a", None, 1, None)
        raise ConnectionError("lost")

    with pytest.raises(ConnectionError):
        ingest_query(store, failing(), RULES, NOON)
    assert store.paths() == []


# -- interrupted -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("way", ["feedback", "folder"])
def test_killed_at_any_step_no_label_is_lost_or_stored_twice(tmp_path: Path, way: str) -> None:
    def change(store: ParquetStore) -> None:
        with store.locked():
            store.settle()
            if way == "feedback":
                ingest_feedback(store, feedback_of(store), RULES)
            else:
                ingest(store)

    kills = 0
    for step in range(1000):
        for when in ("before", "after"):
            store = new_store(tmp_path / f"{when}{step}")
            if way == "feedback":
                send(store, "a", sent("a", "1"), sent("b", "2", NOON - timedelta(days=1)))
                send(store, "b", sent("c", "1"))
            else:
                drop(store, "a.csv", CSV)
                drop(store, "b.csv", CSV.replace("\nb,", "\nc,"))
            fault = Fault(step, when)
            if not run(change, store, fault):
                assert kills > 30
                return
            kills += 1
            change(store)
            expected = [("a", "1"), ("b", "2"), ("c", "1")]
            assert found(store) == (expected if way == "feedback" else [("a", "1"), ("a", "1"), ("b", "2"), ("c", "2")])
            assert sorted(map(str, store.folder.glob("day=*/*"))) == sorted(store.paths())
            if fault.only_reads:
                break


def run(change: Callable[[ParquetStore], None], store: ParquetStore, fault: Fault) -> bool:
    """Whether the change was killed."""
    try:
        with fault.injected():
            change(store)
    except Killed:
        return True
    return False
