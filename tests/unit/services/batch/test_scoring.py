"""One file, as a worker scores it."""

from dataclasses import replace
from pathlib import Path

import pytest

from src.core.dataset_config import CsvFormat
from src.core.errors import ConfigError, InvalidModelError
from src.core.model_registry import TAG_MANIFEST_SHA256
from src.services.batch.inputs import find_inputs
from src.services.batch.outputs import origin_of
from src.services.batch.scoring import Scored, ScoringTask, score_file
from src.serving.models.model_version import ModelVersion
from tests.support.fake_mlflow import FakeVersion
from tests.support.models import build_model
from tests.unit.services.batch.conftest import SPECIES, World


@pytest.fixture
def task(world: World, tmp_path: Path) -> ScoringTask:
    world.flowers("a.parquet")
    work = tmp_path / "work"
    digest = build_model(work / "model")
    version = ModelVersion.from_mlflow(
        "iris", {"version": "1", "tags": [{"key": TAG_MANIFEST_SHA256, "value": digest}]}
    )
    (file,) = find_inputs(str(world.inputs))
    world.outputs.mkdir()
    return ScoringTask(file, world.outputs / "a.parquet", work, version, (), CsvFormat(), "made of")


def test_file_is_scored_and_says_from_what(task: ScoringTask, world: World) -> None:
    assert score_file(task) == Scored(rows=3, problems=0)
    assert world.scored("a.parquet")["prediction"] == SPECIES
    assert origin_of(task.output) == "made of"


def test_worker_that_does_not_see_the_files_says_so(task: ScoringTask, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    message = f"{elsewhere} does not exist on a worker; .* a disk that all workers share"
    with pytest.raises(ConfigError, match=message):
        score_file(replace(task, work=elsewhere))
    with pytest.raises(ConfigError, match=message):
        score_file(replace(task, file=replace(task.file, path=elsewhere)))


def test_model_that_was_changed_on_its_way_is_refused(task: ScoringTask) -> None:
    (task.work / "model" / "model.onnx").write_bytes(b"other")
    with pytest.raises(InvalidModelError, match=r"model\.onnx differs from the manifest"):
        score_file(task)
    assert not task.output.exists()


def test_model_is_loaded_once_per_run(task: ScoringTask) -> None:
    score_file(task)
    (task.work / "model" / "model.onnx").write_bytes(b"other")  # would be refused
    assert score_file(task).rows == 3


@pytest.mark.slow
def test_model_without_onnx_is_scored_by_pyfunc(world: World, tmp_path: Path) -> None:
    import mlflow.sklearn  # noqa: PLC0415 - slow to import
    from mlflow.models import infer_signature  # noqa: PLC0415
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415

    from tests.support.mlflow_models import QUICKLY, TRUSTED, iris, quietly  # noqa: PLC0415

    rows, species = iris()
    rows.columns = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    with quietly():
        model = HistGradientBoostingClassifier(max_iter=5).fit(rows, species)
        kept = {"signature": infer_signature(rows, model.predict(rows)), "input_example": rows.head(2)}
        mlflow.sklearn.save_model(model, tmp_path / "hist", skops_trusted_types=TRUSTED, **kept, **QUICKLY)
    world.mlflow.versions["2"] = FakeVersion(tmp_path / "hist", {}, "mlflow-artifacts:/1/models/m-2/artifacts")
    world.mlflow.promote("2")
    world.flowers("a.parquet")
    assert world.score() == []
    found = world.scored("a.parquet")
    assert found["prediction"] == SPECIES
    assert found["model_version"] == ["2"] * 3
    assert max(found["probability_setosa"]) == found["probability_setosa"][0]
