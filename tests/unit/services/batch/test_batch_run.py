"""A run from its files to its outputs, in this process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import src.services.batch.batch_run
from src.core.dataset_config import CsvFormat
from src.core.errors import ConfigError, DataError, LoopError, OutputBusyError, RegistryError
from src.core.file_lock import lock_at_once
from tests.unit.services.batch.conftest import FLOWERS, SPECIES, World

SHARES = ["probability_setosa", "probability_versicolor", "probability_virginica"]


def changed(path: Path) -> tuple[int, int]:
    return path.stat().st_ino, path.stat().st_mtime_ns


def test_every_row_has_its_id_prediction_probabilities_and_version(world: World) -> None:
    world.flowers("a.parquet", id=[7, 8, 9])
    assert world.score(None, None, None, "id") == []
    found = world.scored("a.parquet")
    assert list(found) == ["id", "prediction", *SHARES, "model_version", "problem"]
    assert found["id"] == [7, 8, 9]
    assert found["prediction"] == SPECIES
    assert found["model_version"] == ["1"] * 3
    assert found["problem"] == [None] * 3
    for place, label in enumerate(SPECIES):
        row = {name: found[name][place] for name in SHARES}
        assert sum(row.values()) == pytest.approx(1, abs=1e-5)
        assert max(row, key=lambda name: row[name]) == f"probability_{label}"


def test_rows_without_an_id_are_numbered_from_1_over_all_chunks(world: World) -> None:
    world.flowers("a.parquet", repeat=5000)
    world.flowers("b.csv", repeat=1500)
    assert world.score() == []
    assert world.scored("a.parquet")["row"] == list(range(1, 15_001))
    assert world.scored("a.parquet")["prediction"] == SPECIES * 5000
    assert world.scored("b.csv.parquet")["row"] == list(range(1, 4501))
    assert world.scored("b.csv.parquet")["prediction"] == SPECIES * 1500


def test_csv_and_parquet_have_the_same_predictions_and_ids_of_csv_stay_text(world: World) -> None:
    world.flowers("a.parquet", id=["01", "02", "03"])
    world.flowers("b.csv", id=["01", "02", "03"])
    world.score(None, None, None, "id")
    one, other = world.scored("a.parquet"), world.scored("b.csv.parquet")
    assert one == other
    assert one["id"] == ["01", "02", "03"]


def test_ids_are_the_columns_that_identified_the_training_rows(world: World) -> None:
    rules = {"classes": SPECIES, "column_rules": {"plant": {"type": "id"}}}
    world.register("2", 0, mlmodel={"metadata": rules})
    world.flowers("a.parquet", plant=[4, 5, 6])
    assert world.score() == []
    assert world.scored("a.parquet")["plant"] == [4, 5, 6]
    assert "row" not in world.scored("a.parquet")


def test_decimal_comma_and_delimiter_of_the_configuration(world: World) -> None:
    texts = {name: [str(value).replace(".", ",") for value in values] for name, values in FLOWERS.items()}
    texts["sepal_width"][2] = "3.300"
    rows = [";".join(texts), *(";".join(row) for row in zip(*texts.values(), strict=True))]
    (world.inputs / "a.csv").write_text("\n".join(rows))
    assert world.score(None, CsvFormat(delimiter=";", decimal=",")) == []
    found = world.scored("a.csv.parquet")
    assert found["prediction"] == [*SPECIES[:2], None]
    assert found["problem"][2] == "sepal_width must be a finite number, with a point for decimals"


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_invalid_rows_have_the_problem_instead_of_a_prediction(
    world: World, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = {**FLOWERS, "petal_width": ["0.2", "wide", "2.5"], "sepal_width": ["3.5", "", "3.3"]}
    texts = {column: [str(value) for value in values] * 100 for column, values in wrong.items()}
    world.write(name, texts)
    assert world.score() == []
    found = world.scored("a.csv.parquet" if name == "a.csv" else name)
    assert found["prediction"] == ["setosa", None, "virginica"] * 100
    assert found["probability_setosa"][:3] == [found["probability_setosa"][0], None, found["probability_setosa"][2]]
    assert found["model_version"] == ["1"] * 300
    assert {(row % 3, found["problem"][row] is None) for row in range(300)} == {(0, True), (1, False), (2, True)}
    assert "sepal_width" in found["problem"][1] or "petal_width" in found["problem"][1]
    assert "100 of 300 rows have no prediction; the column problem says why" in caplog.text


def test_file_without_a_valid_row_has_an_output(world: World) -> None:
    world.write("a.parquet", {name: [None, None] for name in FLOWERS})
    assert world.score() == []
    assert world.scored("a.parquet")["prediction"] == [None, None]


def test_file_without_rows_has_an_output(world: World) -> None:
    schema = pa.schema([(name, pa.float64()) for name in FLOWERS])
    pq.write_table(schema.empty_table(), world.inputs / "a.parquet")
    (world.inputs / "b.csv").write_text(",".join(FLOWERS) + "\n")
    assert world.score() == []
    assert world.scored("a.parquet")["prediction"] == world.scored("b.csv.parquet")["prediction"] == []


@pytest.mark.parametrize(
    ("name", "columns", "problem"),
    [
        ("x.parquet", {"sepal_length": [1.0]}, "lacks the columns sepal_width, petal_length, petal_width"),
        ("x.csv", {"sepal_length": [1.0]}, "lacks the columns sepal_width, petal_length, petal_width"),
        ("x.parquet", {**FLOWERS, "petal_width": [[1], [2], [3]]}, "petal_width must be a column of numbers"),
    ],
)
def test_file_whose_columns_are_not_the_models_is_refused_and_the_others_are_scored(
    world: World, name: str, columns: dict[str, Any], problem: str
) -> None:
    world.flowers("good.parquet")
    world.write(name, columns)
    (error,) = world.score()
    assert isinstance(error, DataError)
    assert problem in str(error)
    assert str(world.inputs / name) in str(error)
    assert world.leftovers() == {"good.parquet"}


def test_file_that_is_no_parquet_is_refused(world: World) -> None:
    (world.inputs / "a.parquet").write_bytes(b"PAR1 nothing")
    (error,) = world.score()
    assert isinstance(error, DataError)
    assert "a.parquet is not a Parquet file that can be read" in str(error)


def test_missing_id_column_is_refused_and_names_of_the_output_are_too(world: World) -> None:
    world.flowers("a.parquet", number=[1, 2, 3])
    (error,) = world.score(None, None, None, "nummer")
    assert "lacks the columns nummer" in str(error)
    with pytest.raises(ConfigError, match="columns of its own named prediction"):
        world.score(None, None, None, "prediction")


def test_second_run_scores_nothing_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    path = world.flowers("a.parquet")
    world.score()
    before = changed(world.outputs / "a.parquet")
    caplog.clear()
    assert world.score() == []
    assert changed(world.outputs / "a.parquet") == before
    assert "iris version 1: 1 file, 1 of them scored already" in caplog.text
    os.utime(path, ns=(1, 1))
    world.score()
    assert changed(world.outputs / "a.parquet") != before


def test_other_version_scores_everything_again(world: World) -> None:
    world.flowers("a.parquet")
    world.score()
    world.register("2", seed=1)
    world.score()
    assert world.scored("a.parquet")["model_version"] == ["2"] * 3
    world.score(None, None, "1")
    assert world.scored("a.parquet")["model_version"] == ["1"] * 3


def test_other_ids_score_everything_again(world: World) -> None:
    world.flowers("a.parquet", number=[1, 2, 3])
    world.score()
    world.score(None, None, None, "number")
    assert world.scored("a.parquet")["number"] == [1, 2, 3]


def test_id_that_is_named_twice_is_one_column(world: World) -> None:
    world.flowers("a.parquet", number=[1, 2, 3])
    assert world.score(None, None, None, "number", "number") == []
    assert list(world.scored("a.parquet"))[:2] == ["number", "prediction"]


def test_missing_texts_with_a_point_are_missing_beside_decimal_commas(world: World) -> None:
    inputs = [{"name": name, "type": "double", "required": name != "sepal_width"} for name in FLOWERS]
    world.register("2", 0, mlmodel={"signature": {"inputs": json.dumps(inputs)}})
    texts = {name: [str(value).replace(".", ",") for value in values] for name, values in FLOWERS.items()}
    texts["sepal_width"] = ["-1.#IND", "1.5", ""]
    rows = [";".join(texts), *(";".join(row) for row in zip(*texts.values(), strict=True))]
    (world.inputs / "a.csv").write_text("\n".join(rows))
    assert world.score(None, CsvFormat(delimiter=";", decimal=",")) == []
    assert [problem is None for problem in world.scored("a.csv.parquet")["problem"]] == [True, False, True]


def test_output_that_is_damaged_is_written_again(world: World) -> None:
    world.flowers("a.parquet")
    world.outputs.mkdir()
    (world.outputs / "a.parquet").write_bytes(b"half of a f")
    assert world.score() == []
    assert world.scored("a.parquet")["prediction"] == SPECIES


def test_folders_of_killed_runs_are_deleted_and_no_other_files_are_left(world: World) -> None:
    world.flowers("a.parquet")
    leftover = world.outputs / ".scoring-killed"
    (leftover / "model").mkdir(parents=True)
    (leftover / "x.tmp").write_text("half")
    (world.outputs / "kept.txt").write_text("of somebody else")
    assert world.score() == []
    assert world.leftovers() == {"a.parquet", "kept.txt"}


def test_failing_run_leaves_no_temporary_files_and_no_half_output(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.flowers("a.parquet")
    monkeypatch.setattr("src.core.durable_file.os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "full")))
    (error,) = world.score()
    assert type(error) is LoopError
    assert str(error) == f"{world.outputs / 'a.parquet'} cannot be written (full)"
    assert world.leftovers() == set()


def test_two_runs_do_not_write_to_one_folder(world: World) -> None:
    world.flowers("a.parquet")
    world.outputs.mkdir()
    lock = lock_at_once(world.outputs / ".scoring.lock")
    assert lock is not None
    with pytest.raises(OutputBusyError, match=f"another run writes to {world.outputs}"):
        world.score()
    os.close(lock)
    assert world.score() == []
    assert world.score() == []  # and the lock of a run ends with it


def test_output_that_is_a_file_is_reported(world: World) -> None:
    world.flowers("a.parquet")
    world.outputs.write_text("")
    with pytest.raises(ConfigError, match=f"{world.outputs} cannot be written"):
        world.score()


def test_version_that_does_not_exist_is_reported(world: World) -> None:
    world.flowers("a.parquet")
    with pytest.raises(RegistryError, match="the registered model has no version 9"):
        world.score(None, None, "9")
    world.mlflow.aliases.clear()
    with pytest.raises(RegistryError, match="the registered model has no alias champion; train first"):
        world.score()


@pytest.mark.parametrize(("files", "rows"), [(["a.parquet", "b.parquet"], 6), (["a.csv"], 3)])
def test_number_of_rows_decides_where_work_runs(
    world: World, files: list[str], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in files:
        world.flowers(name)
    asked: list[tuple[int, int]] = []
    mapper = src.services.batch.batch_run.mapper
    monkeypatch.setattr(
        src.services.batch.batch_run,
        "mapper",
        lambda settings, rows, items: asked.append((rows, items)) or mapper(settings, rows, items),
    )
    world.score()
    ((found, items),) = asked
    assert items == len(files)
    assert found == rows if files[0].endswith("parquet") else rows <= found <= rows + 1


@pytest.mark.slow
def test_command_reports_a_wrong_setting_with_2(tmp_path: Path) -> None:
    command = [sys.executable, "run_batch.py", str(tmp_path), str(tmp_path / "out")]
    ended = subprocess.run(
        command, env={**os.environ, "COMPUTE_ADDRESS": "x"}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "wrong environment: COMPUTE_ADDRESS: has an invalid format" in ended.stderr
