"""A registry with one model of Iris, files to score, and a folder for the outputs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from src.core.compute_settings import BatchSettings
from src.core.dataset_config import CsvFormat
from src.core.errors import LoopError
from src.services.batch.batch_run import Request, run
from src.serving.models.registry_client import RegistryClient
from tests.support.fake_mlflow import FakeMlflow
from tests.support.models import COLUMNS, build_model

# One flower of each class, as columns.
FLOWERS = {
    "sepal_length": [5.1, 5.7, 6.3],
    "sepal_width": [3.5, 2.8, 3.3],
    "petal_length": [1.4, 4.1, 6.0],
    "petal_width": [0.2, 1.3, 2.5],
}
SPECIES = ["setosa", "versicolor", "virginica"]


@dataclass
class World:
    folder: Path
    mlflow: FakeMlflow

    @property
    def inputs(self) -> Path:
        return self.folder / "in"

    @property
    def outputs(self) -> Path:
        return self.folder / "out"

    def register(self, version: str, seed: int, **model: Any) -> None:
        directory = self.folder / f"model-{version}"
        self.mlflow.add(version, directory, build_model(directory, seed=seed, **model))
        self.mlflow.promote(version)

    def write(self, name: str, columns: dict[str, Any]) -> Path:
        path = self.inputs / name
        if name.endswith(".parquet"):
            pq.write_table(pa.table(columns), path)
        else:
            lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
            path.write_text("\n".join(lines) + "\n")
        return path

    def flowers(self, name: str, repeat: int = 1, **ids: list[Any]) -> Path:
        return self.write(name, {**ids, **{column: FLOWERS[column] * repeat for column in COLUMNS}})

    def score(
        self, source: Path | str | None = None, csv: CsvFormat | None = None, version: str | None = None, *ids: str
    ) -> list[LoopError]:
        client = RegistryClient("http://mlflow", "iris", timeout=5, transport=self.mlflow.transport)
        request = Request(str(source or self.inputs), self.outputs, version, ids)
        return run(request, BatchSettings(_env_file=None), csv or CsvFormat(), client)

    def scored(self, name: str) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = pq.read_table(self.outputs / name).to_pydict()
        return found

    def leftovers(self) -> set[str]:
        return {path.name for path in self.outputs.iterdir()} - {".scoring.lock"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    found = World(tmp_path, FakeMlflow())
    found.inputs.mkdir()
    found.register("1", seed=0)
    return found
