"""The report: its numbers of the stores, its file, and who may change what meanwhile."""

import threading
from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from src.core.errors import ConfigError
from src.core.file_lock import is_locked
from src.core.prediction_log import Sampling
from src.core.quality_report import REPORT_FILE, LabelCounts, QualityReport, Score, read_report
from src.core.rollout_record import Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.quality.challenger_watch import ChallengerWatch
from src.quality.labelled import Labelled, Scored
from src.quality.live_quality import Resources
from src.quality.manifest import MANIFEST_FILE
from src.quality.parquet_store import LOCK_FILE, ParquetStore
from src.quality.report import ReportBuilder, write_report
from src.quality.stores import Stores
from src.quality.watch import Watch
from tests.support.quality_rows import DAY, HOUR, NOW, CountingScorer, Given, Row, write_labels, write_log


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    """Empty stores."""
    return Stores(
        log=ParquetStore(tmp_path / "log", tmp_path / "segments", "time"),
        labels=ParquetStore(tmp_path / "labels", tmp_path / "feedback", "received"),
    )


def fill(stores: Stores, folder: Path, rows: list[Row], labels: list[Given]) -> None:
    """Store rows and labels."""
    for store, paths in ((stores.log, write_log(folder, rows)), (stores.labels, write_labels(folder, labels))):
        with store.locked():
            store.add([pq.read_table(path) for path in paths])


def builder(stores: Stores, folder: Path, scorer: CountingScorer | None = None) -> ReportBuilder:
    """The builder of the model iris's reports."""
    resources = Resources(200_000_000, folder / "spilled", 1)
    return ReportBuilder("iris", stores, scorer or CountingScorer(), Sampling("key"), HOUR, resources)


def test_report_of_empty_stores_is_empty(stores: Stores, tmp_path: Path) -> None:
    assert builder(stores, tmp_path).build(NOW) == QualityReport(model="iris", at=NOW, lower_is_better=["error"])


def test_report_has_versions_labels_and_the_size_of_the_log(stores: Stores, tmp_path: Path) -> None:
    rows = [Row("r"), Row("s", version="2"), Row("t", 2 * DAY)]
    fill(stores, tmp_path, rows, [Given("a", id="r"), Given("b", id="x")])
    report = builder(stores, tmp_path).build(NOW, ["a file is bad"])
    assert (report.model, report.at, report.rows, report.problems) == ("iris", NOW, 3, ["a file is bad"])
    assert report.log_bytes == sum(Path(path).stat().st_size for path in stores.log.paths())
    assert report.labels == LabelCounts(matched=1, waiting=1)
    assert [version.version for version in report.versions] == ["1", "2"]
    assert report.versions[0].windows[1].scores == {"accuracy": Score(value=1)}


def test_lowest_rate_of_the_last_month_tells_what_was_sampled(stores: Stores, tmp_path: Path) -> None:
    old = [Given("a", id=f"r{number}", ago=2 * HOUR) for number in range(50)]
    fill(stores, tmp_path, [Row("old", 31 * DAY, rate=0.01), Row("new", 29 * DAY)], old)
    assert builder(stores, tmp_path).build(NOW).labels == LabelCounts(unmatched=50)
    fill(stores, tmp_path, [Row("lower", 28 * DAY, rate=0.01)], [])
    assert builder(stores, tmp_path).build(NOW).labels.not_sampled > 40


def test_problems_of_the_scores_follow_the_given_ones(stores: Stores, tmp_path: Path) -> None:
    fill(stores, tmp_path, [Row("r")], [Given("a", id="r")])
    scorer = CountingScorer(answer=lambda rows: Scored(0, unknown=len(rows)))
    report = builder(stores, tmp_path, scorer).build(NOW, ["first"])
    assert report.problems == ["first", "version 1: labels that are no class of config/pipeline.yaml are left out"]


def test_stores_are_locked_while_a_report_is_built(stores: Stores, tmp_path: Path) -> None:
    fill(stores, tmp_path, [Row("r")], [Given("a", id="r")])
    locks = [store.folder / LOCK_FILE for store in (stores.log, stores.labels)]
    seen: list[bool] = []

    def answer(rows: Labelled) -> Scored:
        seen.extend(map(is_locked, locks))
        return Scored(len(rows))

    builder(stores, tmp_path, CountingScorer(answer=answer)).build(NOW)
    assert set(seen) == {True}
    assert not any(map(is_locked, locks))


def test_files_that_a_killed_join_spilled_are_deleted(stores: Stores, tmp_path: Path) -> None:
    left = tmp_path / "spilled" / "duckdb_temp_storage-0.tmp"
    left.parent.mkdir()
    left.write_bytes(b"rows")
    builder(stores, tmp_path).build(NOW)
    assert not left.exists()


def test_damaged_manifest_is_an_error(stores: Stores, tmp_path: Path) -> None:
    fill(stores, tmp_path, [Row("r")], [])
    (stores.log.folder / MANIFEST_FILE).write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match="damaged"):
        builder(stores, tmp_path).build(NOW)


def test_interrupt_ends_the_report_of_another_thread_and_the_next_one_is_built(stores: Stores, tmp_path: Path) -> None:
    fill(stores, tmp_path, [Row("r")], [Given("a", id="r")])
    scoring, interrupted = threading.Event(), threading.Event()

    def answer(rows: Labelled) -> Scored:
        scoring.set()
        assert interrupted.wait(30)
        return Scored(len(rows))

    building = builder(stores, tmp_path, CountingScorer(answer=answer))
    building.interrupt()  # there is none yet

    def run() -> None:
        with pytest.raises(duckdb.InterruptException):
            building.build(NOW)

    thread = threading.Thread(target=run)
    thread.start()
    assert scoring.wait(30)
    building.interrupt()
    interrupted.set()
    thread.join()
    assert len(building.build(NOW).versions) == 1


def test_written_report_replaces_the_former_one(tmp_path: Path) -> None:
    path = tmp_path / "quality" / REPORT_FILE
    for at in (NOW, NOW + timedelta(minutes=1)):
        report = QualityReport(model="iris", at=at)
        write_report(path, report)
        assert read_report(path, "iris") == report
        path.with_suffix(".tmp").write_text("of a killed process", encoding="utf-8")
    write_report(path, report)
    assert [file.name for file in path.parent.iterdir()] == [REPORT_FILE]


def test_the_watched_promotion_is_judged_by_rows_since_its_start(stores: Stores, tmp_path: Path) -> None:
    rows = []
    for number in range(80):
        since = HOUR if number < 40 else 3 * HOUR  # half of them before the promotion
        rows += [Row(f"r{number}", since, version="2", prediction="b")]
        rows += [Row(f"r{number}", since, version="1", role="shadow", prediction="a")]
    fill(stores, tmp_path, rows, [Given("a", id=f"r{number}") for number in range(80)])
    rollouts = Rollouts(tmp_path / "rollouts")
    asked: list[str] = []
    report = builder(stores, tmp_path)
    report.watch = Watch(
        rollouts,
        "iris",
        by_class=True,
        by_gate=lambda _: (0, 1),
        roll_back=lambda rollout, _: asked.append(rollout.version),
    )
    assert report.build(NOW).problems == []
    started = NOW - 2 * HOUR
    rollout = Rollout(model="iris", version="2", previous="1", started=started, until=NOW + DAY, automatic=False)
    rollouts.begin(rollout)
    (problem,) = report.build(NOW, []).problems
    assert problem.startswith("version 2 is worse than version 1 by 100.0%")
    assert (rollouts.recent("iris", 1)[0].rows <= 40, asked) == (True, [])


def both_ways(watch: Watch, asked: list[str]) -> ChallengerWatch:
    def approve(rollout: Rollout, _: str) -> None:
        asked.append(f"approve {rollout.version}")

    def reject(rollout: Rollout, _: str) -> None:
        asked.append(f"reject {rollout.version}")

    return ChallengerWatch(watch, approve, reject)


@pytest.mark.parametrize(("truth", "decided"), [("b", "approve 2"), ("a", "reject 2")])
def test_a_waiting_version_is_judged_by_its_rows_as_a_shadow_since_its_start(
    stores: Stores, tmp_path: Path, truth: str, decided: str
) -> None:
    rows = []
    for number in range(80):
        since = HOUR if number < 40 else 3 * HOUR  # half of them before it has passed the gate
        rows += [Row(f"r{number}", since, version="2", role="shadow", prediction="b")]
        rows += [Row(f"r{number}", since, version="1", prediction="a")]
    fill(stores, tmp_path, rows, [Given(truth, id=f"r{number}") for number in range(80)])
    rollouts = Rollouts(tmp_path / "rollouts")
    asked: list[str] = []
    report = builder(stores, tmp_path)
    watch = Watch(rollouts, "iris", by_class=True, by_gate=lambda _: (0, 1), roll_back=lambda *_: None)
    report.watch, report.challengers = watch, both_ways(watch, asked)
    assert report.build(NOW).problems == []
    waiting = Rollout(
        model="iris", version="2", previous="1", state=RolloutState.AWAITING_APPROVAL,
        started=NOW - 2 * HOUR, until=NOW + DAY, minimum_rows=40, approval="automatic",
    )  # fmt: skip
    rollouts.begin(waiting)
    assert report.build(NOW).problems == []
    assert asked == [decided]
    (found,) = rollouts.recent("iris", 1)
    assert found.shadowed == 40
    assert found.comparison is not None
    assert (found.comparison.rows, found.comparison.agreement) == (40, 0.0)
    assert found.comparison.version.scored == 80


def test_both_versions_of_a_watched_promotion_are_compared(stores: Stores, tmp_path: Path) -> None:
    rows = [Row("r", version="2"), Row("r", version="1", role="shadow")]
    fill(stores, tmp_path, rows, [])
    rollouts = Rollouts(tmp_path / "rollouts")
    report = builder(stores, tmp_path)
    report.watch = Watch(rollouts, "iris", by_class=True, by_gate=lambda _: None, roll_back=lambda *_: None)
    rollouts.begin(Rollout(model="iris", version="2", previous="1", started=NOW - 2 * HOUR, until=NOW + DAY))
    report.build(NOW)
    (found,) = rollouts.recent("iris", 1)
    assert found.comparison is not None
    assert (found.comparison.rows, found.comparison.agreement) == (1, 1.0)
