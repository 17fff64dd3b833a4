from pathlib import Path

import pandas as pd
import pytest
import yaml

from benchmarks import measure_training
from benchmarks.measure_training import (
    PROPOSED,
    SETTINGS,
    Measured,
    WholeWay,
    configuration,
    main,
    report,
    write_configuration,
    write_table,
)
from src.core.pipeline_config import PipelineConfig, load_pipeline_config


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
    lines = report("measured like this", 200_000, [done, refused]).splitlines()
    assert "| one | 100 | 180 | 1,234 | 135 | 0 | promoted: version 1 |" in lines
    assert "| two | 12 | 20 | 500 | 0 | 2 | the model is too large |" in lines
    assert lines[-1] == "- one: train 60.5"
    assert lines[2] == "measured like this"
    assert any(line.startswith("200,000 rows of 30 numbers, 8 classes") for line in lines)


def test_report_has_the_way_from_the_file_to_a_prediction() -> None:
    done = Measured("one", 0, 90.0, 180.2, {}, 1, 1, "promoted: version 1", WholeWay(4.25, 90.0, 3.5, "c7"))
    lines = report("measured like this", 200_000, [done]).splitlines()
    assert lines[-4:] == [
        "| `make config` | 4.2 |",
        "| training, from its start to its end | 90.0 |",
        "| inference, from its start to the first prediction (`c7`) | 3.5 |",
        "| all | 97.8 |",
    ]


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
    assert "`make measure-training 'TRAINING_ARGS=--rows 50 " in file.read_text()
    assert main(["--rows", "50", "--report", str(file)]) == 0
    assert asked[1:] == [*SETTINGS, PROPOSED]


def test_chosen_settings_are_those_of_the_configuration(tmp_path: Path) -> None:
    table = write_table(tmp_path / "table.csv", 50)
    write_configuration(tmp_path / "pipeline.yaml", table, "shipped settings")
    assert load_pipeline_config(tmp_path / "pipeline.yaml").model.params == SETTINGS["shipped settings"]


def test_proposed_configuration_is_the_one_of_make_config(tmp_path: Path) -> None:
    table = write_table(tmp_path / "table.csv", 2_000)
    write_configuration(tmp_path / "pipeline.yaml", table, PROPOSED)
    assert "Written by `make config`" in (tmp_path / "pipeline.yaml").read_text(encoding="utf-8")
    proposed = yaml.safe_load((tmp_path / "pipeline.yaml").read_text(encoding="utf-8"))
    assert len(proposed["dataset"]["features"]) == 30
    assert proposed["dataset"]["source"] == str(table)
