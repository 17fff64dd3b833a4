"""What is found after kills: missing and repeated labels and rows, and rows that were lost too early."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.kill_checks import Kill, Stored, check_labels, check_rows, losses, read_stores
from benchmarks.kill_load import Traffic
from src.quality.ingest_labels import LabelRules, ingest_feedback
from src.quality.segments import ingest_segments
from src.quality.stores import label_store, log_store
from tests.support.quality_arrivals import write_feedback, write_segment

KILLS = [Kill("quality", 10.0), Kill("inference", 20.0), Kill("quality", 25.0), Kill("inference", 30.0)]


def stored(*ids: str, labels: tuple[tuple[str, str], ...] = ()) -> Stored:
    return Stored(Counter((name, "1", "champion") for name in ids), Counter(labels))


def answered(**times: float) -> Traffic:
    """Rows that were answered a tenth of a second after their request."""
    return Traffic({name: at - 0.1 for name, at in times.items()}, dict(times))


def test_acknowledged_label_that_is_not_stored_is_found() -> None:
    traffic = Traffic(labels=[("a", "x"), ("b", "y")], accepted=[("a", "x"), ("b", "y")])
    assert check_labels(traffic, stored(labels=(("a", "x"), ("b", "y")))) == []
    (fault,) = check_labels(traffic, stored(labels=(("a", "x"), ("b", "z"))))[:1]
    assert fault == "1 acknowledged labels are not stored: ('b', 'y')"


def test_label_that_is_stored_twice_is_found_and_an_unacknowledged_one_may_be_stored() -> None:
    traffic = Traffic(labels=[("a", "x"), ("a", "y")], accepted=[("a", "x")])
    assert check_labels(traffic, stored(labels=(("a", "x"), ("a", "y")))) == []
    assert check_labels(traffic, stored(labels=(("a", "x"), ("a", "x")))) == [
        "1 labels are stored more often than they were sent: ('a', 'x')"
    ]


def test_row_that_is_stored_twice_or_was_never_requested_is_found() -> None:
    traffic = answered(a=1.0, b=2.0)
    assert check_rows(traffic, stored("a", "b")) == []
    assert check_rows(traffic, stored("a", "b", "b")) == ["1 rows are stored twice: ('b', '1', 'champion')"]
    assert check_rows(traffic, stored("a", "c")) == ["1 rows were never requested: ('c', '1', 'champion')"]


def test_rows_of_the_last_second_before_a_kill_of_inference_may_be_lost() -> None:
    traffic = answered(a=19.0, b=19.5, c=20.05, d=29.9, e=15.0)
    found, faults = losses(traffic, stored("e"), KILLS)
    assert [loss.rows for loss in found] == [0, 3, 0, 1]
    assert [loss.seconds for loss in found] == pytest.approx([0, 1.0, 0, 0.1])
    assert faults == []


def test_older_rows_and_those_after_the_last_kill_may_not() -> None:
    found, faults = losses(answered(a=18.4, b=18.6, c=30.2), stored(), KILLS)
    assert found[1].rows == 2
    assert found[1].seconds == pytest.approx(1.6)
    assert faults == [
        "1 answered rows are missing, and inference was not killed after them: c",
        "round 2: a row that was answered 1.60 s before the kill is missing",
    ]


def test_rows_and_labels_are_read_from_the_stores(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    write_segment(tmp_path, [("a", "setosa"), ("b", "setosa")], now)
    write_feedback(tmp_path, {"a": "virginica"}, now)
    log, labels = log_store(tmp_path, "iris"), label_store(tmp_path, "iris")
    with log.locked(), labels.locked():
        ingest_segments(log, tmp_path / "segments", "iris")
        ingest_feedback(labels, tmp_path / "feedback", LabelRules())
    found, faults = read_stores(tmp_path, "iris")
    assert found == stored("a", "b", labels=(("a", "virginica"),))
    assert faults == []


def test_damage_and_leftovers_are_found(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    write_feedback(tmp_path, {"a": "virginica"}, now)
    write_segment(tmp_path, [("a", "setosa")], now)
    log = log_store(tmp_path, "iris")
    with log.locked():
        ingest_segments(log, tmp_path / "segments", "iris")
    (tmp_path / "segments/bad").mkdir()
    (tmp_path / "segments/bad/s.ndjson").touch()
    Path(log.paths()[0]).write_bytes(b"none")
    (tmp_path / "labels/iris").mkdir(parents=True)
    (tmp_path / "labels/iris/manifest.json").write_text("{")
    faults = read_stores(tmp_path, "iris")[1]
    assert [fault.split(":")[0] for fault in faults] == [
        "log cannot be read",
        "labels cannot be read",
        "1 files of segments could not be read",
        "1 files are left in feedback",
    ]


def test_file_with_fewer_rows_than_the_manifest_counts_is_found(tmp_path: Path) -> None:
    log = log_store(tmp_path, "iris")
    with log.locked():
        for names in ([("a", "setosa")], [("b", "setosa"), ("c", "setosa")]):
            write_segment(tmp_path, names, datetime.now(UTC))
            ingest_segments(log, tmp_path / "segments", "iris")
    first, second = map(Path, log.paths())
    second.write_bytes(first.read_bytes())
    (fault,) = read_stores(tmp_path, "iris")[1]
    assert fault.startswith("log: the manifest counts 3 rows, and there are ")
