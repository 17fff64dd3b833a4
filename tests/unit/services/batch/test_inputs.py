"""Which files are found."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from src.core.errors import DataError
from src.services.batch.inputs import count_rows, find_inputs, output_name
from tests.unit.services.batch.conftest import SPECIES, World


def found(source: Path | str) -> list[str]:
    return [file.name for file in find_inputs(str(source))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.csv", "a.parquet", "c.tsv", "d.csv.gz", ".hidden.csv", "~old.csv", "notes.txt"):
        (tmp_path / name).write_text("x\n1\n")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "b.csv").write_text("x\n1\n")
    return tmp_path


def test_folder_file_and_glob_have_their_tables_by_name(folder: Path) -> None:
    assert found(folder) == ["a.parquet", "b.csv", "c.tsv", "d.csv.gz"]
    assert found(folder / "b.csv") == ["b.csv"]
    assert found(folder / "[ab].*") == ["a.parquet", "b.csv"]
    assert found(folder / "below" / "**" / "*.csv") == ["b.csv"]


def test_paths_are_absolute_for_workers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert [file.path for file in find_inputs("below")] == [folder / "below" / "b.csv"]


@pytest.mark.parametrize("source", ["empty", "*.json", "absent.csv"])
def test_source_without_tables_is_refused(folder: Path, source: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match=r"has no \.csv, \.tsv or \.parquet file"):
        find_inputs(str(folder / source))


def test_file_of_another_kind_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"notes\.txt must be a \.csv, \.tsv or \.parquet file"):
        find_inputs(str(folder / "notes.txt"))


def test_two_inputs_for_one_output_are_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"several files for the output b\.csv\.parquet"):
        find_inputs(str(folder / "**" / "*.csv"))
    (folder / "d.csv").write_text("x\n1\n")
    with pytest.raises(DataError, match="are one file, compressed and not"):
        find_inputs(str(folder))


def test_outputs_are_named_like_their_inputs() -> None:
    assert [output_name(name) for name in ("a.parquet", "a.csv", "a.parquet.gz")] == [
        "a.parquet",
        "a.csv.parquet",
        "a.parquet.gz.parquet",
    ]


def test_rows_are_counted_in_parquet_and_estimated_in_csv(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": list(range(70))}), tmp_path / "a.parquet")
    (tmp_path / "b.csv").write_text("x\n" + "12345\n" * 50_000)
    counted = {file.name: count_rows(file) for file in find_inputs(str(tmp_path))}
    assert counted["a.parquet"] == 70
    assert counted["b.csv"] == pytest.approx(50_000, rel=0.01)


def test_compressed_tables_are_scored(world: World) -> None:
    for name in ("a.csv", "b.parquet"):
        path = world.flowers(name)
        (world.inputs / f"{name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert world.score() == []
    assert world.scored("a.csv.gz.parquet")["prediction"] == SPECIES
    assert world.scored("b.parquet.gz.parquet")["prediction"] == SPECIES


def test_dictionaries_and_columns_that_the_model_does_not_take_are_read(world: World) -> None:
    path = world.flowers("a.parquet", note=["x", "y", "z"])
    table = pq.read_table(path)
    place = table.schema.get_field_index("petal_width")
    texts = pa.array(["0.2", "1.3", "2.5"]).dictionary_encode()
    pq.write_table(table.set_column(place, "petal_width", texts), path)
    assert world.score() == []
    assert world.scored("a.parquet")["prediction"] == SPECIES
    assert "note" not in world.scored("a.parquet")


def test_column_that_is_there_twice_is_refused(world: World) -> None:
    table = pq.read_table(world.flowers("a.parquet"))
    pq.write_table(table.append_column("petal_width", table["petal_width"]), world.inputs / "a.parquet")
    (error,) = world.score()
    assert "has the columns petal_width more than once" in str(error)
