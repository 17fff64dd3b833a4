from collections import Counter
from pathlib import Path

from benchmarks.measure_quality import DAYS, END, MODEL, Report, Size, compute, report, write_stores
from src.quality.stores import label_store, log_store
from tests.support.quality_files import stored_rows


def test_stores_have_the_rows_and_labels_of_each_day(tmp_path: Path) -> None:
    size = write_stores(tmp_path, 1000, 301)
    log, labels = log_store(tmp_path, MODEL), label_store(tmp_path, MODEL)
    manifest = log.manifest
    assert (size.rows, manifest.rows, labels.manifest.rows) == (1000, 1000, 301)
    assert size.log_bytes == sum(Path(path).stat().st_size for path in log.paths())
    assert {file.rows for file in manifest.files} == {33, 34}
    assert manifest.files[-1].path.startswith("day=2026-03-30/")
    assert manifest.files[-1].last < END
    rows, given = stored_rows(log), stored_rows(labels)
    assert Counter(row["model_version"] for row in rows).keys() == {"1", "2", "3"}
    assert len({row["request_id"] for row in rows}) == 1000
    assert all((label["request_id"] is None) != (label["key"] is None) for label in given)
    assert 10 < sum(label["key"] is not None for label in given) < 60
    assert len(manifest.files) == DAYS


def test_one_report_matches_every_label(tmp_path: Path) -> None:
    write_stores(tmp_path, 3000, 300)
    found = compute(tmp_path, 300)
    assert found.matched == 300
    assert found.seconds > 0
    assert found.cpu_seconds > 0
    assert found.memory_bytes > 50e6


def test_text_gives_the_median_the_range_and_the_most_memory() -> None:
    found = [Report(seconds, seconds / 2, int(seconds * 1e8), 70) for seconds in (3.0, 1.0, 8.0)]
    text = report("measured so", Size(1000, 100, 5_000_000, 2_000_000), found, 500)
    assert "measured so\n\n1,000 rows (5 MB in Parquet files) of 30 days" in text
    assert "100 labels, one in ten by key\n(2 MB)." in text
    assert "The join may take 500 MB" in text
    assert "3; 3.0 s in the median (1.0 to 8.0)" in text
    assert "; 1.5 s of processor time" in text
    assert "held at most 800 MB.\n70 labels belong" in text
