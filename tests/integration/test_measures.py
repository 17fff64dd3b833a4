"""The measurements of trainings, a retrain request, a quality report, the log and kills, each of a small size."""

import re
from pathlib import Path

import pytest

from benchmarks.kills import main as measure_kills
from benchmarks.measure_log import main as measure_log
from benchmarks.measure_quality import main as measure_quality
from benchmarks.measure_retrain import main as measure_retrain
from benchmarks.measure_scoring import main as measure_scoring
from benchmarks.measure_training import PROPOSED, measure, write_table

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


def test_small_table_is_measured_from_its_file_to_a_served_prediction(tmp_path: Path) -> None:
    found = measure(tmp_path / "run", write_table(tmp_path / "table.csv", 2000), PROPOSED)
    assert (found.exit_code, found.end.split(":")[0]) == (0, "promoted")
    assert {"preprocess", "split", "train", "train.fit", "evaluate_on_holdout", "promote"} <= set(found.steps)
    assert 5e6 < found.version_bytes < 60e6
    assert 2e8 < found.memory_bytes < 1.5e9
    assert 3 < found.cpu_seconds < 120
    way = found.whole_way
    assert way is not None
    assert way.answer in {f"c{index}" for index in range(8)}
    assert way.training == found.seconds
    assert min(way.config, way.serving) > 0


def test_one_retrain_is_measured_until_it_is_served(tmp_path: Path) -> None:
    file = tmp_path / "retrain.md"
    assert measure_retrain(["--retrains", "1", "--report", str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    (seconds,) = re.findall(r"1 requests: ([\d.]+) s in the median", text)
    steps = {name: float(value) for name, value in re.findall(r"\| ([\w.]+) \| ([\d.]+) \|", text)}
    assert {"imports", "connect", "train.fit", "promote"} <= set(steps)
    assert 0 < steps["imports"] < steps["total"] < float(seconds) + 5


def test_report_over_a_small_log_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "quality.md"
    arguments = ["--rows", "30000", "--labels", "3000", "--runs", "2", "--report", str(file)]
    assert measure_quality(arguments) == 0
    text = file.read_text(encoding="utf-8")
    (seconds,) = re.findall(r"2; ([\d.]+) s in the median", text)
    (megabytes,) = re.findall(r"held at most ([\d,]+) MB", text)
    assert 0 < float(seconds) < 60
    assert 100 < float(megabytes.replace(",", "")) < 1000
    assert "\n3,000 labels belong to a row.\n" in text


def test_scoring_is_measured_with_one_worker_with_several_and_with_kills(tmp_path: Path) -> None:
    file = tmp_path / "scoring.md"
    assert measure_scoring(["--rows", "400000", "--files", "16", "--report", str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| [\d.]+ \| ([\d,]+) \| ([\d.]+) \| (\d+) \|$", text, re.MULTILINE)
    assert [workers for workers, *_ in rows] == ["1", "2"]
    assert all(int(speed.replace(",", "")) > 1000 for _, speed, *_ in rows)
    assert all(float(seconds) > 0.5 and 100 < int(megabytes) < 600 for *_, seconds, megabytes in rows)
    assert "0 rows are missing, and\n0 are there more than once." in text


def test_log_and_shadow_are_measured_beside_a_service_without_them(tmp_path: Path) -> None:
    file = tmp_path / "log.md"
    assert measure_log(["--rounds", "1", "--seconds", "0.2", "--report", str(file)]) == 0
    lines = re.findall(r"^\| ([a-z ]+) \| ([\d,]+) \|", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name, _ in lines] == ["without both", "log", "log and shadow"]
    assert min(int(per_second.replace(",", "")) for _, per_second in lines) > 100


def test_processes_are_killed_under_load_and_nothing_that_was_promised_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "kills.md"
    assert measure_kills(["--rounds", "3", "--longest", "1", "--report", str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    rows = {
        what: int(count.replace(",", ""))
        for what, count in re.findall(r"^\| ([a-z ,0-9]+) \| ([\d,]+) \|$", text, re.M)
    }
    assert "3 rounds of SIGKILL (inference 2, quality 1;" in text
    assert "\n- none\n" in text
    assert (
        rows["answered"] - rows["answered, but not in the log"]
        <= rows["rows in the log"]
        <= rows["predictions requested"]
    )
    assert 100 < rows["acknowledged with 202"] <= rows["labels in the store"] <= rows["labels sent"]
    assert rows["rows in the log"] > 100
