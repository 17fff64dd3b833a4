from pathlib import Path

import pandas as pd
import pytest
import yaml

from benchmarks import measure_training
from benchmarks.machine import Machine
from benchmarks.measure_training import Measured, configuration, main, measure, report, write_table
from src.core.pipeline_config import PipelineConfig

MACHINE = Machine("CPU", 2, 2**34, "Linux 6", "3.13.0", 0.1, "2026-01-02 03:04 UTC")


def test_table_has_the_columns_of_its_configuration(tmp_path: Path) -> None:
    frame = pd.read_csv(write_table(tmp_path / "table.csv", 500))
    config = PipelineConfig.model_validate(configuration(tmp_path / "table.csv", {"max_depth": 3}))
    assert (len(frame), frame.shape[1]) == (500, 31)
    assert set(frame["y"]) == set(config.dataset.classes or [])
    assert set(config.dataset.features) == set(frame.columns) - {"y"}
    assert config.model.params == {"max_depth": 3}


def test_report_has_the_figures_of_each_training() -> None:
    done = Measured("one", 0, 99.6, 180.2, {"train": 60.5}, 1_234_000_000, 135_000_000, "promoted: version 1")
    refused = Measured("two", 2, 12.0, 20.0, {}, 500_000_000, 0, "the model is too large")
    lines = report(MACHINE, 200_000, [done, refused]).splitlines()
    assert "| one | 100 | 180 | 1,234 | 135 | 0 | promoted: version 1 |" in lines
    assert "| two | 12 | 20 | 500 | 0 | 2 | the model is too large |" in lines
    assert lines[-1] == "- one: train 60.5"
    assert "The load before was 0.10 (idle)." in lines
    assert any(line.startswith("200,000 rows of 30 numbers, 8 classes") for line in lines)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            [
                "10:00 INFO train-model: train …",
                "10:01 INFO train-model: promoted: version 1",
                "10:02 INFO train-model: old",
            ],
            "promoted: version 1",
        ),
        (["10:00 INFO train-model: train …", "10:01 ERROR train-model: too large", "Traceback"], "too large"),
        (["Traceback"], "no line"),
    ],
)
def test_end_is_the_verdict_or_the_last_line(lines: list[str], expected: str) -> None:
    assert measure_training._end(lines) == expected  # noqa: SLF001 - what it reads is a log


@pytest.mark.integration
@pytest.mark.timeout(900)
def test_small_table_is_trained_to_a_verdict_within_bounds(tmp_path: Path) -> None:
    table = write_table(tmp_path / "table.csv", 2000)
    found = measure(tmp_path / "run", table, "n_estimators: 100, max_depth: 12")
    assert (found.exit_code, found.end.split(":")[0]) == (0, "promoted")
    assert {"preprocess", "split", "train", "train.fit", "evaluate_on_holdout", "promote"} <= set(found.steps)
    assert 5e6 < found.version_bytes < 60e6
    assert 2e8 < found.memory_bytes < 1.5e9
    assert 3 < found.cpu_seconds < 120


def test_report_is_written_for_the_chosen_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fake(folder: Path, table: Path, settings: str) -> Measured:
        assert len(pd.read_csv(table)) == 50
        assert not folder.exists()
        asked.append(settings)
        return Measured(settings, 0, 1.0, 1.0, {}, 1, 1, "promoted")

    monkeypatch.setattr(measure_training, "measure", fake)
    file = tmp_path / "training.md"
    assert main(["--rows", "50", "--report", str(file), "--only", "shipped settings"]) == 0
    assert asked == ["shipped settings"]
    assert "| shipped settings | 1 |" in file.read_text()
    assert main(["--rows", "50", "--report", str(file)]) == 0
    assert asked[1:] == [*measure_training.SETTINGS, measure_training.PROPOSED]


def test_proposed_configuration_is_the_one_of_make_config(tmp_path: Path) -> None:
    table = write_table(tmp_path / "table.csv", 2_000)
    proposed = yaml.safe_load(measure_training.configuration_text(table, measure_training.PROPOSED))
    assert len(proposed["dataset"]["features"]) == 30
    assert proposed["dataset"]["source"] == str(table)
    chosen = yaml.safe_load(measure_training.configuration_text(table, "shipped settings"))
    assert chosen["model"]["params"] == measure_training.SETTINGS["shipped settings"]
