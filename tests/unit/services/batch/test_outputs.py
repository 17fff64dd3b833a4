"""Types of an output's columns, its row groups and its origin."""

import io
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from src.core.errors import LoopError
from src.core.predictions import Predictions
from src.services.batch.checked_rows import CheckedRows
from src.services.batch.outputs import ROW_GROUP_ROWS, Output, origin_of, replacing, reserved_names


@dataclass
class Model:
    """As much of a predictor as an output needs."""

    labels: tuple[Any, ...] = ()
    gives_probabilities: bool = False
    version: Any = field(default_factory=lambda: SimpleNamespace(version="7"))

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(map(str, self.labels))

    @property
    def engine(self) -> Any:
        return SimpleNamespace(labels=self.labels)


def written(model: Model, *chunks: tuple[int, Predictions]) -> pq.ParquetFile:
    stream = io.BytesIO()
    output = Output(stream, model, [], "origin")  # type: ignore[arg-type]
    for count, found in chunks:
        output.add(pa.record_batch({"x": pa.array(range(count))}), CheckedRows(None, np.arange(count), {}), found)
    output.close()
    return pq.ParquetFile(io.BytesIO(stream.getvalue()))


@pytest.mark.parametrize(
    ("labels", "kind"),
    [(("a", "b"), pa.string()), ((3, 4), pa.int64()), ((False, True), pa.bool_()), ((0.5, 1.5), pa.float64())],
)
def test_labels_keep_their_type_with_and_without_probabilities(labels: tuple[Any, ...], kind: pa.DataType) -> None:
    given = written(Model(labels), (2, Predictions([labels[1], labels[0]])))
    shares = np.array([[0.1, 0.9], [0.8, 0.2]])
    derived = written(Model(labels, gives_probabilities=True), (2, Predictions(None, shares, labels)))
    for file in (given, derived):
        assert file.schema_arrow.field("prediction").type == kind
        assert file.read()["prediction"].to_pylist() == [labels[1], labels[0]]
    assert derived.read()[f"probability_{labels[1]}"].to_pylist() == [0.9, 0.2]
    assert f"probability_{labels[1]}" not in given.schema_arrow.names


def test_regression_has_numbers_alone() -> None:
    file = written(Model(), (2, Predictions([1.5, 2.5])))
    assert file.schema_arrow.names == ["row", "prediction", "model_version", "problem"]
    assert file.read()["prediction"].to_pylist() == [1.5, 2.5]


def test_chunks_are_collected_into_row_groups() -> None:
    half = ROW_GROUP_ROWS // 2
    some = (half, Predictions(np.zeros(half).tolist()))
    file = written(Model(), some, some, (1, Predictions([1.0])))
    assert [file.metadata.row_group(place).num_rows for place in range(file.num_row_groups)] == [ROW_GROUP_ROWS, 1]
    assert file.read()["row"].to_pylist() == list(range(1, ROW_GROUP_ROWS + 2))


def test_origin_is_read_back_and_other_files_have_none(tmp_path: Path) -> None:
    with (tmp_path / "a.parquet").open("wb") as stream:
        Output(stream, Model(), [], "of a").close()  # type: ignore[arg-type]
    pq.write_table(pa.table({"x": [1]}), tmp_path / "b.parquet")
    (tmp_path / "c.parquet").write_text("no Parquet")
    assert origin_of(tmp_path / "a.parquet") == "of a"
    assert [origin_of(tmp_path / name) for name in ("b.parquet", "c.parquet", "d.parquet")] == [None] * 3


def test_names_of_the_output_are_reserved() -> None:
    assert reserved_names(["a"]) == {"row", "prediction", "probability_a", "model_version", "problem"}


def test_target_appears_when_the_context_ends_and_not_if_it_fails(tmp_path: Path) -> None:
    target, work = tmp_path / "a.parquet", tmp_path / "work"
    work.mkdir()
    with replacing(target, work) as stream:
        stream.write(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    with pytest.raises(ZeroDivisionError), replacing(target, work) as stream:
        stream.write(b"%d" % (1 // 0))
    assert target.read_bytes() == b"whole"
    assert list(work.iterdir()) == []


def test_folder_that_a_later_run_has_deleted_keeps_the_target(tmp_path: Path) -> None:
    target, work = tmp_path / "a.parquet", tmp_path / "work"
    work.mkdir()
    context = replacing(target, work)
    context.__enter__().write(b"of an older run")
    shutil.rmtree(work)
    with pytest.raises(LoopError, match=r"a\.parquet cannot be written"):
        context.__exit__(None, None, None)
    assert not target.exists()
