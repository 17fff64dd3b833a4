"""Whole training runs on other data than Iris: from a CSV file to a registered model that serving answers from."""

from collections.abc import Callable
from pathlib import Path

import mlflow
import mlflow.artifacts
import pytest
import yaml
from mlflow.tracking import MlflowClient

from src.core.pipeline_config import PipelineConfig
from src.core.retrain_signal import RetrainSpool
from src.pipeline.data_preprocess import prepare
from src.serving.models.model_loader import load_predictor
from src.serving.models.model_version import ModelVersion
from src.training.compare_models import compare
from src.training.registry import ModelRegistry
from src.training.splitting import split_rows
from tests.support.datasets import houses, passengers
from tests.support.training import run_training

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("kind", "row", "pictures"),
    [
        (passengers, (None, "NA", True, None, 20.0), {"confusion_matrix.png", "classification_report.json"}),
        (houses, (120.0, False, "hills"), {"predictions.png"}),
    ],
    ids=["classification", "regression"],
)
def test_any_columns_are_learned_registered_and_served(
    kind: Callable[[Path], PipelineConfig],
    row: tuple[float | str | bool | None, ...],
    pictures: set[str],
    mlflow_url: str,
    tmp_path: Path,
) -> None:
    config, name = kind(tmp_path / "data.csv"), f"{kind.__name__}-test"
    file = tmp_path / "pipeline.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(), sort_keys=False, allow_unicode=True), encoding="utf-8")
    spool = RetrainSpool(tmp_path / "data" / "retrain").create()
    request_id = spool.submit("api").id
    spool.claim()
    environment = {"MODEL_NAME": name, "MLFLOW_EXPERIMENT": name, "PIPELINE_CONFIG": str(file)}
    process = run_training(tmp_path / "data", mlflow_url, **environment)
    assert process.returncode == 0, process.stderr
    assert [line for line in process.stderr.splitlines() if "WARNING" in line] == []

    mlflow.set_tracking_uri(mlflow_url)
    client = MlflowClient(mlflow_url)
    version = client.get_model_version_by_alias(name, "champion")
    assert version.tags["onnx.parity"] == "passed"
    run = client.get_run(version.run_id)
    record = spool.get(request_id)
    assert record is not None
    assert record.result is not None
    assert record.result.challenger is not None
    assert record.result.challenger.items() <= run.data.metrics.items()
    files = {item.path for item in client.list_artifacts(version.run_id)}
    assert pictures | {"feature_importance.png"} <= files

    directory = tmp_path / "served"
    mlflow.artifacts.download_artifacts(f"models:/{name}@champion", dst_path=str(directory))
    (directory / "registered_model_meta").unlink(missing_ok=True)
    served = ModelVersion(name=name, version="1", manifest_sha256=version.tags["manifest.sha256"])
    predictor = load_predictor(directory, served, "registry")
    assert predictor.schema == config.dataset.feature_schema
    assert len(predictor.answer([row])) == 1

    split = split_rows(prepare(config.dataset).frame, config, None)
    evaluation, comparison = compare(ModelRegistry(client, name), "1", split, config, {})
    assert comparison.champion == evaluation.scores == record.result.challenger
