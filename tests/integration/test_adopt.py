"""docs/adopt.md, followed to the letter on copies of the repository: what it says trains, registers and counts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import mlflow.artifacts
import pytest
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from src.services.local.processes import REPOSITORY
from tests.support.doc_blocks import apply, blocks_of, copy_of_the_repository
from tests.support.training import training_environment

# A training on a busy machine takes minutes.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
PAGE = (REPOSITORY / "docs" / "adopt.md").read_text(encoding="utf-8")


class Adopter:
    """Someone who follows a section of the page, in a checkout of her own."""

    def __init__(self, folder: Path, mlflow_url: str, section: str) -> None:
        self.checkout = copy_of_the_repository(folder / "checkout")
        self.name = f"adopt-{section.lower()}"
        self.client = MlflowClient(mlflow_url)
        self._environment = training_environment(folder / "state", mlflow_url)
        self._environment |= {"MODEL_NAME": self.name, "MLFLOW_EXPERIMENT": self.name, "PYTHONPATH": ""}
        for block in blocks_of(PAGE, section):
            apply(block, self.checkout)

    def run(self, *arguments: str) -> str:
        """A command in the checkout; what it prints."""
        process = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.checkout,
            env=os.environ | self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout + process.stderr

    def train(self) -> tuple[ModelVersion, Run]:
        """One training; its version, which must have become champion, and the run that made it."""
        self.run("run_pipeline.py")
        version = self.client.get_model_version_by_alias(self.name, "challenger")
        assert version.tags["gate.verdict"] == "promoted", version.tags
        return version, self.client.get_run(version.run_id)


def test_own_transformer_is_part_of_the_model(tmp_path: Path, mlflow_url: str) -> None:
    adopter = Adopter(tmp_path, mlflow_url, "Features")
    assert "estimator: random_forest" in adopter.run("-m", "src.services.local.check_data")
    version, _ = adopter.train()
    # ONNX knows no class of ours.
    assert version.tags["onnx.parity"] != "passed"
    mlflow.set_tracking_uri(mlflow_url)
    model = mlflow.artifacts.download_artifacts(f"models:/{adopter.name}@champion", dst_path=str(tmp_path / "model"))
    assert "petal_area" in "".join(
        path.read_bytes().decode("latin-1") for path in Path(model).rglob("*") if path.is_file()
    )


def test_own_estimator_is_found_by_its_name(tmp_path: Path, mlflow_url: str) -> None:
    adopter = Adopter(tmp_path, mlflow_url, "Estimator")
    assert "estimator: nearest_mean:NearestMean" in adopter.run("-m", "src.services.local.check_data")
    _, run = adopter.train()
    recorded = run.data.params
    assert "nearest_mean:NearestMean" in recorded.values(), recorded
    assert "2.0" in recorded.values(), recorded


def test_line_of_the_catalogue_makes_an_estimator_known(tmp_path: Path, mlflow_url: str) -> None:
    adopter = Adopter(tmp_path, mlflow_url, "Estimator")
    config = adopter.checkout / "config" / "pipeline.yaml"
    text = config.read_text(encoding="utf-8")
    config.write_text(
        text.replace("nearest_mean:NearestMean", "nearest_neighbours").replace("sharpness: 2.0", "n_neighbors: 7"),
        encoding="utf-8",
    )
    assert "estimator: nearest_neighbours" in adopter.run("-m", "src.services.local.check_data")


def test_own_metric_decides(tmp_path: Path, mlflow_url: str) -> None:
    adopter = Adopter(tmp_path, mlflow_url, "Metric")
    assert "metrics: cost, accuracy" in adopter.run("-m", "src.services.local.check_data")
    version, run = adopter.train()
    assert version.tags["gate.reason"].startswith("cost ")
    assert 0 <= run.data.metrics["cost"] < 0.4


def test_edits_of_the_data_section_hold(tmp_path: Path, mlflow_url: str) -> None:
    adopter = Adopter(tmp_path, mlflow_url, "Data")
    assert "149 rows from iris" in adopter.run("-m", "src.services.local.check_data")
    changed = (adopter.checkout / "config" / "pipeline.yaml").read_text(encoding="utf-8")
    assert "missing: true }\n" in changed
    assert 'removeprefix("iris ")' in (adopter.checkout / "src/pipeline/data_preprocess.py").read_text(encoding="utf-8")


def test_page_names_only_files_that_exist() -> None:
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", PAGE) if "://" not in link]
    assert [link for link in links if link and not (REPOSITORY / "docs" / link).exists()] == []
    places = re.findall(r"`((?:src|config|docs)/[\w/.]+)`", PAGE)
    new = {block.path for section in ("Features", "Estimator") for block in blocks_of(PAGE, section)}
    assert [place for place in places if place not in new and not (REPOSITORY / place).exists()] == [
        "src/services/inference/routes/columns.py"
    ]
