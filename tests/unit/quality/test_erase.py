from datetime import timedelta
from pathlib import Path

import pytest

from src.core.feedback import Label
from src.quality.erase import Erasure, erase
from src.quality.ingest_labels import LabelRules, ingest_feedback
from src.quality.segments import ingest_segments
from src.quality.stores import Stores, label_store, log_store
from tests.support.quality_files import MODEL, NOON, logged, stored_ids, stored_rows, write_segment

LOGGED = [logged("a", key="k"), logged("a/1"), logged("b", key="k"), logged("c", key="m"), logged("c/2", key="k")]
LABELS = [
    Label(request_id="a", label="1", received=NOON),
    Label(request_id="a/1", label="2", received=NOON),
    Label(request_id="b", label="3", received=NOON),
    Label(request_id="c", label="4", received=NOON),
    Label(request_id="c/2", label="5", received=NOON),
    Label(key="k", label="6", received=NOON),
    Label(key="m", label="7", received=NOON),
]


def stores_of(root: Path, model: str = MODEL) -> Stores:
    return Stores(log_store(root, model), label_store(root, model))


def arrive(root: Path, rows: list[dict[str, object]], labels: list[Label]) -> None:
    write_segment(root, "a", rows)
    (root / "feedback").mkdir(exist_ok=True)
    text = "".join(label.model_dump_json() + "\n" for label in labels)
    (root / "feedback/a.ndjson").write_text(text, encoding="utf-8")


def ingest(root: Path) -> None:
    log, labels = log_store(root, MODEL), label_store(root, MODEL)
    with log.locked(), labels.locked():
        ingest_segments(log, root / "segments", MODEL)
        ingest_feedback(labels, root / "feedback", LabelRules())


@pytest.mark.parametrize("when", ["stored", "waiting"])
@pytest.mark.parametrize(
    ("given", "left", "left_labels"),
    [
        ("a", ["b", "c", "c/2"], "34567"),
        ("a/0", ["a/1", "b", "c", "c/2"], "234567"),
        ("c/2", ["a", "a/1", "b", "c"], "123467"),
        ("k", ["a/1", "c"], "247"),
        ("m", ["a", "a/1", "b", "c/2"], "12356"),
        ("x", ["a", "a/1", "b", "c", "c/2"], "1234567"),
    ],
)
def test_everything_about_an_id_is_erased_and_left_out_when_it_arrives_later(
    tmp_path: Path, when: str, given: str, left: list[str], left_labels: str
) -> None:
    arrive(tmp_path, LOGGED, LABELS)
    log, labels = log_store(tmp_path, MODEL), label_store(tmp_path, MODEL)
    if when == "stored":
        ingest(tmp_path)
        assert erase([Stores(log, labels)], given, NOON) == Erasure(5 - len(left), 7 - len(left_labels))
    else:
        assert erase([Stores(log, labels)], given, NOON) == Erasure(0, 0)
        ingest(tmp_path)
    assert stored_ids(log) == left
    found = "".join(sorted(row["label"] for row in stored_rows(labels)))
    if when == "waiting" and given in {"k", "m"}:
        # Which rows have the key is not known yet: labels that name the rows themselves stay.
        left_labels = {"k": "123457", "m": "123456"}[given]
    assert found == left_labels


def test_hidden_key_is_erased_by_the_key_itself(tmp_path: Path) -> None:
    arrive(tmp_path, [logged("a", key="hidden k"), logged("b", key="k"), logged("c", key="hidden m")], [])
    ingest(tmp_path)
    log, labels = log_store(tmp_path, MODEL), label_store(tmp_path, MODEL)
    assert erase([Stores(log, labels)], "k", NOON, "hidden k") == Erasure(2, 0)
    assert stored_ids(log) == ["c"]


def test_what_a_killed_process_left_is_deleted_before(tmp_path: Path) -> None:
    log, labels = log_store(tmp_path, MODEL), label_store(tmp_path, MODEL)
    left = [store.folder / "day=2026-03-04/left.parquet" for store in (log, labels)]
    for path in left:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"rows of the id")
    erase([Stores(log, labels)], "a", NOON)
    assert not any(path.exists() for path in left)


def test_rows_after_the_erasure_of_their_key_are_stored(tmp_path: Path) -> None:
    log, labels = log_store(tmp_path, MODEL), label_store(tmp_path, MODEL)
    erase([Stores(log, labels)], "k", NOON)
    later = NOON + timedelta(microseconds=1)
    arrive(tmp_path, [logged("n", later, key="k")], [Label(key="k", label="1", received=later)])
    ingest(tmp_path)
    assert stored_ids(log) == ["n"]
    assert len(stored_rows(labels)) == 1


def test_an_id_is_erased_in_the_stores_of_every_model(tmp_path: Path) -> None:
    own, former = stores_of(tmp_path), stores_of(tmp_path, "former")
    write_segment(tmp_path, "a", [logged("a", key="k"), logged("b")], model="former")
    with former.log.locked():
        ingest_segments(former.log, tmp_path / "segments", "former")
    # Labels for rows of the former model, which arrived while the other one was served.
    arrive(
        tmp_path,
        [logged("c", key="k"), logged("d")],
        [Label(request_id=name, label="1", received=NOON) for name in "abcd"],
    )
    ingest(tmp_path)
    assert erase([former, own], "k", NOON) == Erasure(2, 2)
    assert (stored_ids(former.log), stored_ids(own.log)) == (["b"], ["d"])
    assert sorted(row["request_id"] for row in stored_rows(own.labels)) == ["b", "d"]
    for both in (former, own):
        assert len(both.log.manifest.erased) == 1
        assert len(both.labels.manifest.erased) == 3
