"""What became of labels: matched, waiting, not sampled, unmatched."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from src.core.prediction_log import Sampling
from src.core.quality_report import LabelCounts
from src.quality import live_quality
from tests.support.quality_rows import DAY, HOUR, Given, Row, joined

TICK = timedelta(microseconds=1)


def counts(folder: Path, rows: Sequence[Row], labels: Sequence[Given], lowest_rate: float = 1.0) -> LabelCounts:
    """The counts with a patience of an hour."""
    with joined(folder, rows, labels) as quality:
        return quality.label_counts(HOUR, Sampling("key"), lowest_rate)


def test_no_labels_count_nothing(tmp_path: Path) -> None:
    assert counts(tmp_path, [Row("r")], []) == counts(tmp_path, [], [], 0.5) == LabelCounts()


def test_each_id_counts_once(tmp_path: Path) -> None:
    labels = [
        Given("a", id="r", ago=2 * HOUR),
        Given("b", id="r"),
        Given("a", id="s"),
        Given("b", id="s", ago=2 * HOUR),
    ]
    assert counts(tmp_path, [Row("r"), Row("r", version="2")], labels) == LabelCounts(matched=1, waiting=1)


def test_label_without_a_row_waits_for_the_patience(tmp_path: Path) -> None:
    labels = [Given("a", id="r", ago=HOUR - TICK), Given("a", key="k", ago=HOUR - TICK)]
    assert counts(tmp_path, [], labels) == LabelCounts(waiting=2)
    assert counts(tmp_path, [], labels, 0.5) == LabelCounts(waiting=2)
    labels = [Given("a", id="r", ago=HOUR), Given("a", key="k", ago=HOUR)]
    assert counts(tmp_path, [], labels) == LabelCounts(unmatched=2)


def test_labels_of_the_last_month_count(tmp_path: Path) -> None:
    rows = [Row("r", 40 * DAY), Row("s", 40 * DAY)]
    labels = [Given("a", id=name, ago=30 * DAY) for name in "rx"]
    old = [Given("a", id=name, ago=30 * DAY + TICK) for name in "sy"]
    assert counts(tmp_path, rows, labels + old) == LabelCounts(matched=1, unmatched=1)


def test_labels_by_key_count_once_for_each_request(tmp_path: Path) -> None:
    rows = [Row("r", 3 * HOUR, "k"), Row("s", HOUR, "k")]
    labels = [
        Given("a", key="k"), Given("b", key="k", ago=TICK), Given("a", key="k", true_ago=2 * HOUR),
        Given("a", key="k", true_ago=9 * HOUR, ago=2 * HOUR), Given("b", key="k", true_ago=8 * HOUR, ago=2 * HOUR),
    ]  # fmt: skip
    assert counts(tmp_path, rows, labels) == LabelCounts(matched=2, unmatched=1)
    assert counts(tmp_path, rows, labels, 0.99) == LabelCounts(matched=2, not_sampled=1)


def test_late_label_is_not_sampled_if_its_id_would_not_be(tmp_path: Path) -> None:
    sampling = Sampling("key")
    names = [f"r{number}" for number in range(40)] + [f"r{number}/3" for number in range(40)]
    sampled = sum(sampling.would_sample(name, 0.5) for name in names)
    labels = [Given("a", id=name, ago=2 * HOUR) for name in names]
    assert 20 < sampled < 60
    assert counts(tmp_path, [], labels, 0.5) == LabelCounts(not_sampled=80 - sampled, unmatched=sampled)
    assert counts(tmp_path, [], labels) == LabelCounts(unmatched=80)


def test_counts_of_many_late_labels_are_extrapolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_quality, "MAX_EXAMINED", 200)
    labels = [Given("a", id=f"r{number}", ago=2 * HOUR) for number in range(1000)]
    found = counts(tmp_path, [], labels, 0.25)
    assert found.not_sampled + found.unmatched == 1000
    assert found.not_sampled % 5 == 0
    assert found.not_sampled == pytest.approx(750, abs=100)
