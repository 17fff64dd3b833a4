"""The join of log and labels: each of its rules on small tables, and all of them against a join in Python."""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.core.prediction_log import Sampling
from src.core.quality_report import ClassCoverage, LabelCounts, Score, Window
from src.core.rollout_record import Rollout, RolloutState
from src.quality import live_quality
from src.quality.labelled import Labelled, Scored
from src.quality.live_quality import LiveQuality
from tests.support.quality_rows import DAY, HOUR, NOW, CountingScorer, Given, Row, joined, request_of, truth_of

MINUTE = timedelta(minutes=1)
TICK = timedelta(microseconds=1)


def labels_of(folder: Path, rows: Sequence[Row], labels: Sequence[Given]) -> list[tuple[str, str]]:
    """The ids of the labelled rows, all of the last day, and their labels."""
    scorer = CountingScorer()
    with joined(folder, [replace(row, prediction=row.id) for row in rows], labels, scorer) as quality:
        quality.versions()
    # The newest labels of each version are scored, and those of the day.
    found = [pair for seen in scorer.seen[::2] for pair in zip(seen.predictions, seen.truth, strict=True)]
    return sorted(found)


def windows_of(quality: LiveQuality, place: int = 0) -> dict[str, Window]:
    """The windows of a version by name."""
    return {window.name: window for window in quality.versions()[place].windows}


def test_label_belongs_to_the_row_with_its_id(tmp_path: Path) -> None:
    rows = [Row("r"), Row("r/1"), Row("s")]
    assert labels_of(tmp_path, rows, [Given("a", id="r/1"), Given("b", id="s"), Given("a", id="t")]) == [
        ("r/1", "a"),
        ("s", "b"),
    ]


def test_canary_has_a_quality_of_its_own_beside_the_same_version_as_a_shadow(tmp_path: Path) -> None:
    rows = [
        Row("r", version="2", role="canary", prediction="a"),
        Row("r", version="1", role="shadow", prediction="b"),
        Row("s", version="1", prediction="a"),
        Row("s", version="2", role="shadow", prediction="b"),
    ]
    with joined(tmp_path, rows, [Given("a", id="r"), Given("a", id="s")], CountingScorer()) as quality:
        found = {(one.version, one.role): one.windows[1] for one in quality.versions()}
    assert {one: (window.predicted, window.labelled) for one, window in found.items()} == {
        ("2", "canary"): (1, 1),
        ("1", "shadow"): (1, 1),
        ("1", "champion"): (1, 1),
        ("2", "shadow"): (1, 1),
    }


def test_newest_label_of_an_id_counts_in_any_order(tmp_path: Path) -> None:
    labels = [Given("old", id="r", ago=2 * TICK), Given("new", id="r", ago=TICK), Given("older", id="r", ago=HOUR)]
    for order in ([0, 1, 2], [1, 0, 2], [2, 1, 0]):
        assert labels_of(tmp_path, [Row("r")], [labels[place] for place in order]) == [("r", "new")]


def test_of_labels_received_together_the_last_one_that_became_true_counts(tmp_path: Path) -> None:
    labels = [Given("a", id="r", true_ago=MINUTE), Given("z", id="r", true_ago=HOUR)]
    assert labels_of(tmp_path, [Row("r")], labels) == [("r", "a")]
    assert labels_of(tmp_path, [Row("r")], [Given("b", id="r"), Given("a", id="r")]) == [("r", "b")]


def test_label_by_key_belongs_to_the_newest_row_that_is_not_later(tmp_path: Path) -> None:
    rows = [Row("r1", 3 * HOUR, "k"), Row("r2", 2 * HOUR, "k"), Row("r3", HOUR, "k"), Row("other", 2 * HOUR, "l")]
    for label, request in (
        (Given("x", key="k", true_ago=3 * HOUR), "r1"),
        (Given("x", key="k", true_ago=2 * HOUR + TICK), "r1"),
        (Given("x", key="k", true_ago=2 * HOUR), "r2"),
        (Given("x", key="k", true_ago=MINUTE), "r3"),
        (Given("x", key="k"), "r3"),  # without a time, its receipt counts
        (Given("x", key="k", ago=90 * MINUTE), "r2"),
    ):
        assert labels_of(tmp_path, rows, [label]) == [(request, "x")]
    assert labels_of(tmp_path, rows, [Given("x", key="k", true_ago=3 * HOUR + TICK)]) == []
    assert labels_of(tmp_path, rows, [Given("x", key="K")]) == []


def test_labels_of_one_key_go_to_the_rows_of_their_times(tmp_path: Path) -> None:
    rows = [Row("r1", 3 * HOUR, "k"), Row("r2", HOUR, "k")]
    labels = [
        Given("late", key="k", true_ago=MINUTE, ago=MINUTE),
        Given("early", key="k", true_ago=2 * HOUR),
        Given("corrected", key="k", true_ago=150 * MINUTE, ago=TICK),
    ]
    assert labels_of(tmp_path, rows, labels) == [("r1", "early"), ("r2", "late")]


def test_of_rows_with_one_key_and_time_one_gets_the_label(tmp_path: Path) -> None:
    rows = [Row("r", HOUR, "k"), Row("r/2", HOUR, "k"), Row("r/1", HOUR, "k")]
    assert labels_of(tmp_path, rows, [Given("x", key="k")]) == [("r/2", "x")]


def test_of_a_label_by_id_and_one_by_key_the_newest_counts(tmp_path: Path) -> None:
    rows = [Row("r", HOUR, "k")]
    by_id, by_key = Given("by id", id="r", ago=MINUTE), Given("by key", key="k", ago=MINUTE)
    assert labels_of(tmp_path, rows, [by_id, replace(by_key, ago=MINUTE - TICK)]) == [("r", "by key")]
    assert labels_of(tmp_path, rows, [replace(by_id, ago=MINUTE - TICK), by_key]) == [("r", "by id")]
    # A label with both is one by id.
    assert labels_of(tmp_path, [*rows, Row("s", MINUTE, "k")], [Given("x", id="r", key="k")]) == [("r", "x")]


def test_every_version_that_answered_a_request_gets_its_label(tmp_path: Path) -> None:
    rows = [Row("r", HOUR, "k"), Row("r", HOUR - TICK, "k", version="2", role="shadow"), Row("s", 2 * HOUR, "k")]
    assert labels_of(tmp_path, rows, [Given("x", id="r")]) == [("r", "x")] * 2
    assert labels_of(tmp_path, rows, [Given("x", key="k")]) == [("r", "x")] * 2
    # One that became true between the two answers is about the request.
    assert labels_of(tmp_path, rows, [Given("x", key="k", true_ago=HOUR)]) == [("r", "x")] * 2


def test_versions_come_newest_first_with_role_and_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        Row("1", 9 * DAY), Row("2", 8 * DAY), Row("3", 2 * DAY, version="2"), Row("4", HOUR, version="2", role="shadow")
    ]  # fmt: skip
    with joined(tmp_path, rows, []) as quality:
        found = [(one.version, one.role, NOW - one.first, NOW - one.last) for one in quality.versions()]
    assert found == [
        ("2", "shadow", HOUR, HOUR),
        ("2", "champion", 2 * DAY, 2 * DAY),
        ("1", "champion", 9 * DAY, 8 * DAY),
    ]
    monkeypatch.setattr(live_quality, "MAX_VERSIONS", 2)
    with joined(tmp_path, rows, [Given("a", id="1")]) as quality:
        assert [one.version for one in quality.versions()] == ["2", "2"]


def test_periods_count_rows_from_their_start_on(tmp_path: Path) -> None:
    rows = [
        Row("now", timedelta()), Row("day", DAY), Row("before", DAY + TICK), Row("week", 7 * DAY),
        Row("weeks", 7 * DAY + TICK), Row("month", 30 * DAY), Row("months", 30 * DAY + TICK, prediction="b"),
    ]  # fmt: skip
    labels = [Given("a", id=row.id) for row in rows if row.id != "before"]
    with joined(tmp_path, rows, labels) as quality:
        found = {name: (window.predicted, window.labelled) for name, window in windows_of(quality).items()}
        assert found == {"newest": (7, 6), "day": (2, 2), "week": (4, 3), "month": (6, 5)}
        assert windows_of(quality)["month"].coverage == {"a": ClassCoverage(predicted=6, labelled=5)}
        assert [window.name for window in quality.versions()[0].windows] == ["newest", "day", "week", "month"]


def test_newest_window_is_of_the_labels_received_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_quality, "NEWEST_LABELS", 2)
    rows = [Row(str(hours), hours * HOUR) for hours in range(1, 7)]
    labels = [
        Given("a", id="5", ago=MINUTE), Given("b", id="3", ago=2 * MINUTE), Given("b", id="1", ago=4 * MINUTE),
        Given("b", id="4", ago=3 * MINUTE), Given("b", id="6", ago=3 * MINUTE),
    ]  # fmt: skip
    scorer = CountingScorer()
    with joined(tmp_path, rows, labels, scorer) as quality:
        newest = windows_of(quality)["newest"]
    # From the row of five hours ago on: that of six is older.
    assert (newest.predicted, newest.labelled, newest.scored) == (5, 4, 2)
    assert newest.scores == {"accuracy": Score(value=0.5)}
    assert newest.coverage == {"a": ClassCoverage(predicted=5, labelled=4)}


def test_without_labels_there_are_no_scores(tmp_path: Path) -> None:
    scorer = CountingScorer()
    with joined(tmp_path, [Row("r"), Row("s", prediction="b")], [], scorer) as quality:
        windows = windows_of(quality)
    empty = {"labelled": 0, "scored": 0, "delay_seconds": None, "scores": {}}
    assert windows["newest"] == Window(name="newest", predicted=0, **empty)
    counted = {name: ClassCoverage(predicted=1, labelled=0) for name in "ab"}
    assert windows["day"] == Window(name="day", predicted=2, coverage=counted, **empty)
    assert scorer.seen == []


def test_without_a_log_there_are_no_versions(tmp_path: Path) -> None:
    for labels in ([], [Given("a", id="r"), Given("a", key="k")]):
        with joined(tmp_path, [], labels) as quality:
            assert quality.versions() == []


def test_coverage_is_by_predicted_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Row("1"), Row("2"), Row("3", prediction="b"), Row("4", prediction="c")]
    labels = [Given("b", id="1"), Given("b", id="3")]
    monkeypatch.setattr(live_quality, "MAX_CLASSES", 3)
    with joined(tmp_path, rows, labels) as quality:
        assert windows_of(quality)["day"].coverage == {
            "a": ClassCoverage(predicted=2, labelled=1),
            "b": ClassCoverage(predicted=1, labelled=1),
            "c": ClassCoverage(predicted=1, labelled=0),
        }
    with joined(tmp_path, rows, labels, CountingScorer(by_class=False)) as quality:
        day = windows_of(quality)["day"]
        assert (day.coverage, day.predicted, day.labelled) == ({}, 4, 2)
    monkeypatch.setattr(live_quality, "MAX_CLASSES", 2)
    with joined(tmp_path, rows, labels) as quality:
        assert windows_of(quality)["day"].coverage == {}


def test_rows_weigh_by_their_rate(tmp_path: Path) -> None:
    rows = [Row("1"), Row("2", rate=0.25, prediction="b"), Row("3", rate=0.25)]
    scorer = CountingScorer()
    with joined(tmp_path, rows, [Given("a", id=row.id) for row in rows], scorer) as quality:
        assert windows_of(quality)["day"].scores == {"accuracy": Score(value=5 / 9)}
    assert sorted(scorer.seen[0].weights.tolist()) == [1, 4, 4]


def test_rows_are_of_one_cluster_by_key_else_by_id(tmp_path: Path) -> None:
    rows = [Row("1", key="k"), Row("2", key="k"), Row("3")]
    scorer = CountingScorer()
    with joined(tmp_path, rows, [Given("a", id=row.id) for row in rows], scorer) as quality:
        quality.versions()
    assert sorted(scorer.seen[0].keys.tolist()) == ["3", "k", "k"]


def test_delay_is_the_median_time_from_prediction_to_receipt(tmp_path: Path) -> None:
    rows = [Row("1", 5 * HOUR), Row("2", 4 * HOUR), Row("3", 30 * HOUR), Row("4", 3 * HOUR)]
    labels = [
        Given("a", id="1", ago=4 * HOUR, true_ago=5 * HOUR), Given("a", id="2", ago=2 * HOUR), Given("a", id="3"),
        Given("b", id="1", ago=4.5 * HOUR),
    ]  # fmt: skip
    with joined(tmp_path, rows, labels) as quality:
        windows = windows_of(quality)
    assert {name: window.delay_seconds for name, window in windows.items()} == {
        "newest": 7200, "day": 5400, "week": 7200, "month": 7200,
    }  # fmt: skip


def test_many_rows_are_sampled_for_the_scores_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_quality, "MAX_SCORED", 10)
    rows = [Row(f"r{number}", number * MINUTE) for number in range(60)]
    scorer, again = CountingScorer(), CountingScorer()
    for same in (scorer, again):
        with joined(tmp_path, rows, [Given("a", id=row.id) for row in rows], same) as quality:
            day = windows_of(quality)["day"]
    assert (day.predicted, day.labelled, day.scored) == (60, 60, 10)
    sampled = [int(key[1:]) for key in scorer.seen[1].keys]
    assert again.seen[1].keys.tolist() == scorer.seen[1].keys.tolist()
    assert max(sampled) - min(sampled) > 20


def test_periods_with_the_same_labels_are_scored_once(tmp_path: Path) -> None:
    scorer = CountingScorer()
    with joined(tmp_path, [Row("1"), Row("2", 2 * DAY)], [Given("a", id="1"), Given("b", id="2")], scorer) as quality:
        windows = windows_of(quality)
    assert [len(rows) for rows in scorer.seen] == [2, 1, 2]
    assert {name: window.scores["accuracy"].value for name, window in windows.items()} == {
        "newest": 0.5, "day": 1.0, "week": 0.5, "month": 0.5,
    }  # fmt: skip


def test_windows_name_the_classes_without_a_label(tmp_path: Path) -> None:
    def answer(rows: Labelled) -> Scored:
        return Scored(len(rows), unlabelled=() if len(rows) > 1 else ("b", "c"))

    labels = [Given("a", id="1"), Given("b", id="2")]
    with joined(tmp_path, [Row("1"), Row("2", 2 * DAY)], labels, CountingScorer(answer=answer)) as quality:
        windows = windows_of(quality)
    assert {name: window.unlabelled for name, window in windows.items()} == {
        "newest": [], "day": ["b", "c"], "week": [], "month": [],
    }  # fmt: skip


def test_unusable_labels_and_failing_metrics_are_problems(tmp_path: Path) -> None:
    def answer(rows: Labelled) -> Scored:
        return Scored(0, unknown=len(rows), failures={"cost": f"fails for version {rows.version}"})

    rows = [Row("1"), Row("2", 3 * DAY), Row("3", 9 * DAY, version="2")]
    labels = [Given("x", id=row.id) for row in rows]
    for by_class, kind in ((True, "no class of config/pipeline.yaml"), (False, "no number")):
        with joined(tmp_path, rows, labels, CountingScorer(by_class=by_class, answer=answer)) as quality:
            assert quality.problems == []
            quality.versions()
            assert quality.problems == [
                f"version 1: labels that are {kind} are left out",
                "version 1: the metric cost cannot be computed: fails for version 1",
                f"version 2: labels that are {kind} are left out",
                "version 2: the metric cost cannot be computed: fails for version 2",
            ]


def test_join_keeps_to_its_memory(tmp_path: Path) -> None:
    rows = [Row(f"request {number}") for number in range(20_000)]
    quality = joined(tmp_path, rows, [Given("a", id=row.id) for row in rows], memory_bytes=5_000_000)
    with pytest.raises(duckdb.OutOfMemoryException), quality:
        quality.versions()


def test_join_can_be_interrupted(tmp_path: Path) -> None:
    rows = [Row(str(number), key="k") for number in range(20_000)]
    quality = joined(tmp_path, rows, [Given("a", id=row.id) for row in rows])
    ended: list[type[BaseException]] = []

    def run() -> None:
        try:
            with quality:
                while True:
                    quality.versions()
        except duckdb.Error as error:
            ended.append(type(error))

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():
        quality.interrupt()
        thread.join(0.001)
    assert ended == [duckdb.InterruptException]


IDS, KEYS = st.sampled_from(["r", "r/1", "s", "t"]), st.sampled_from(["k", "l"])
TIMES = st.integers(0, 12).map(lambda hours: hours * HOUR)
ROWS = st.builds(
    Row, id=IDS, ago=TIMES, key=st.none() | KEYS, version=st.sampled_from(["1", "2"]),
    role=st.sampled_from(["champion", "shadow"]), rate=st.sampled_from([1.0, 0.5]), prediction=st.sampled_from("ab"),
)  # fmt: skip
TEXTS = st.sampled_from("abc")
LABELS = st.builds(Given, TEXTS, id=IDS, ago=TIMES, true_ago=st.none() | TIMES) | st.builds(
    Given, TEXTS, key=KEYS, ago=TIMES, true_ago=st.none() | TIMES
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(rows=st.lists(ROWS, max_size=12), labels=st.lists(LABELS, max_size=8))
def test_join_is_that_of_the_rules(rows: list[Row], labels: list[Given]) -> None:
    truth = truth_of(rows, labels)
    scorer = CountingScorer()
    with TemporaryDirectory() as folder, joined(Path(folder), rows, labels, scorer) as quality:
        found = {(one.version, one.role): one.windows[1] for one in quality.versions()}
        counts = quality.label_counts(timedelta(), Sampling(), lowest_rate=1.0)
    assert set(found) == {(row.version, row.role) for row in rows}
    for (version, role), day in found.items():
        own = [row for row in rows if (row.version, row.role) == (version, role)]
        known = [row for row in own if row.id in truth]
        assert day.predicted == len(own)
        assert day.labelled == day.scored == len(known)
        assert {name: part.predicted for name, part in day.coverage.items()} == Counter(row.prediction for row in own)
        if known:
            weights = sum(1 / row.rate for row in known)
            right = sum((truth[row.id].label == row.prediction) / row.rate for row in known)
            assert day.scores["accuracy"].value == pytest.approx(right / weights)
            delays = [(truth[row.id].received - row.time).total_seconds() for row in known]
            assert day.delay_seconds == pytest.approx(median(delays))
    fates = {(label.id, label.key, request_of(label, rows)) for label in labels}
    without = sum(request is None for *_, request in fates)
    assert counts == LabelCounts(matched=len(fates) - without, unmatched=without)


def promoted(at: datetime) -> Rollout:
    """Version 2, which has replaced version 1."""
    return Rollout(model="iris", version="2", previous="1", started=at, until=at)


def test_pairs_are_rows_of_a_version_and_of_its_shadow_as_their_labels_arrived(tmp_path: Path) -> None:
    rows = [
        Row("late", HOUR, version="2", prediction="b"),
        Row("late", HOUR, version="1", role="shadow", prediction="a"),
        Row("early", 2 * HOUR, version="2", prediction="c"),
        Row("early", 2 * HOUR, version="1", role="shadow", prediction="d"),
        Row("unlabelled", HOUR, version="2"),
        Row("unlabelled", HOUR, version="1", role="shadow"),
        Row("alone", HOUR, version="2"),
        Row("before", 3 * HOUR, version="2"),
        Row("before", 3 * HOUR, version="1", role="shadow"),
        Row("other", HOUR, version="2"),
        Row("other", HOUR, version="0", role="shadow"),
        Row("served", HOUR, version="2"),
        Row("served", HOUR, version="1"),
    ]
    ids = ("early", "alone", "before", "other", "served")
    labels = [Given("y", id="late", ago=MINUTE), *(Given("x", id=name, ago=2 * MINUTE) for name in ids)]
    with joined(tmp_path, rows, labels) as quality:
        found = quality.pairs(promoted(NOW - 2 * HOUR))
        assert [column.tolist() for column in found[:3]] == [["x", "y"], ["c", "b"], ["d", "a"]]
        assert len(quality.pairs(promoted(NOW)).truth) == 0


def test_pairs_have_the_probabilities_of_both_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        Row("first", version="2", shares={"b": 0.3, "a": 0.7}),
        Row("first", version="1", role="shadow", shares={"a": 0.6, "c": 0.4}),
        Row("second", version="2"),
        Row("second", version="1", role="shadow", shares={"a": 0.2, "c": 0.8}),
    ]
    labels = [Given("a", id="first", ago=2 * MINUTE), Given("a", id="second", ago=MINUTE)]
    with joined(tmp_path, rows, labels) as quality:
        *_, new, previous = quality.pairs(promoted(NOW - DAY))
        assert new is not None
        assert previous is not None
        assert new.classes == ("a", "b")
        np.testing.assert_array_equal(new.probabilities, [[0.7, 0.3], [np.nan, np.nan]])
        assert previous.classes == ("a", "c")
        assert previous.probabilities.tolist() == [[0.6, 0.4], [0.2, 0.8]]
        monkeypatch.setattr(live_quality, "MAX_PAIRED_SHARES", 3)
        assert quality.pairs(promoted(NOW - DAY)).new_shares is not None
        monkeypatch.setattr(live_quality, "MAX_PAIRED_SHARES", 2)
        assert quality.pairs(promoted(NOW - DAY))[3:] == (None, None)


def test_rows_that_share_a_request_id_or_a_key_are_one_pair(tmp_path: Path) -> None:
    again = [("same", n, None) for n in range(20)] + [(f"r{n}", 0, "customer") for n in range(20)]
    rows = [
        Row(name, HOUR + n * MINUTE, key, version=version, role=role, prediction=prediction)
        for name, n, key in again
        for version, role, prediction in (("2", "champion", "b"), ("1", "shadow", "a"))
    ]
    labels = [Given("a", id="same", ago=MINUTE), *(Given("b", id=f"r{n}", ago=2 * MINUTE) for n in range(20))]
    with joined(tmp_path, rows, labels) as quality:
        found = quality.pairs(promoted(NOW - DAY))
        assert [column.tolist() for column in found[:3]] == [["b", "a"], ["b", "b"], ["a", "a"]]


def test_pairs_are_limited_to_those_labelled_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_quality, "MAX_PAIRS", 3)
    rows = [
        Row(str(n), version=version, role=role)
        for n in range(9)
        for version, role in (("2", "champion"), ("1", "shadow"))
    ]
    with joined(tmp_path, rows, [Given(str(n), id=str(n), ago=n * MINUTE) for n in range(9)]) as quality:
        assert quality.pairs(promoted(NOW - DAY)).truth.tolist() == ["8", "7", "6"]


def test_pairs_of_a_canary_are_rows_of_both_since_it_began_to_answer(tmp_path: Path) -> None:
    rows = [
        Row("own", HOUR, version="2", role="canary", prediction="b"),
        Row("own", HOUR, version="1", role="shadow", prediction="a"),
        Row("other", HOUR, version="2", role="shadow", prediction="c"),
        Row("other", HOUR, version="1", prediction="d"),
        Row("both", HOUR, version="2", role="canary"),
        Row("both", HOUR, version="1"),
        Row("before", 3 * HOUR, version="2", role="shadow"),
        Row("before", 3 * HOUR, version="1"),
    ]
    labels = [Given("x", id=name, ago=MINUTE) for name in ("before", "both", "other")]
    canary = promoted(NOW - DAY).model_copy(update={"state": RolloutState.CANARY, "canary_started": NOW - 2 * HOUR})
    with joined(tmp_path, rows, [*labels, Given("y", id="own", ago=2 * MINUTE)]) as quality:
        found = quality.pairs(canary)
        assert [column.tolist() for column in found[:3]] == [["y", "x"], ["b", "c"], ["a", "d"]]
        assert quality.compared(canary, []).rows == 1
        assert len(quality.pairs(canary.model_copy(update={"canary_started": NOW})).truth) == 0
