"""docs/adopt.md, followed to the letter on copies of the repository: every block of the page has its effect."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient
from sklearn.datasets import load_iris

from benchmarks.estimators.measurement import is_equal
from benchmarks.estimators.reference import Reference
from benchmarks.loop import complete, copy_code, inference
from src.services.local.processes import REPOSITORY
from tests.support.alert_rules import alerts_of, require_accepted, require_cases, require_dashboard, require_runbook
from tests.support.configuration import CONFIG_FILE
from tests.support.doc_blocks import apply, blocks_of, sections_of
from tests.support.inference_process import without_mlflow
from tests.support.models import COLUMNS, SETOSA
from tests.support.training import training_environment

# A training on a busy machine takes minutes.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
PAGE = (REPOSITORY / "docs" / "adopt.md").read_text(encoding="utf-8")


def adopted(folder: Path, *sections: str) -> Path:
    """A checkout, as shipped, in which these sections of the page were followed."""
    checkout = copy_code(folder / "checkout", "docs", "pyproject.toml")
    shutil.copy(CONFIG_FILE, checkout / "config" / "pipeline.yaml")
    for section in sections:
        for block in blocks_of(PAGE, section):
            apply(block, checkout)
    return checkout


class Adopter:
    """Follows a section of the page in a checkout of their own."""

    def __init__(self, folder: Path, mlflow_url: str, section: str) -> None:
        self.folder, self.checkout = folder, adopted(folder, section)
        self.config = self.checkout / "config" / "pipeline.yaml"
        self.name = f"adopt-{section.lower()}"
        self.client = MlflowClient(mlflow_url)
        self.environment = training_environment(folder / "state", mlflow_url)
        self.environment |= {"MODEL_NAME": self.name, "MLFLOW_EXPERIMENT": self.name, "PYTHONPATH": ""}
        self.environment |= {"PIPELINE_CONFIG": str(self.config)}

    def run(self, *arguments: str) -> str:
        """Run a Python command in the checkout; return its output."""
        process = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.checkout,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout + process.stderr

    def check_data(self) -> str:
        return self.run("-m", "src.services.local.check_data")

    def edit(self, old: str, new: str) -> None:
        """Replace a text of the configuration that is there once."""
        text = self.config.read_text(encoding="utf-8")
        assert text.count(old) == 1, old
        self.config.write_text(text.replace(old, new), encoding="utf-8")

    def train(self) -> tuple[ModelVersion, Run]:
        """Train once; the version, which must have become champion, and its run."""
        self.run("run_pipeline.py")
        version = self.client.get_model_version_by_alias(self.name, "challenger")
        assert version.tags["gate.verdict"] == "promoted", version.tags
        return version, self.client.get_run(version.run_id)

    def reference(self) -> Reference:
        """Ask the registered scikit-learn model for every row."""
        out = self.folder / "reference.json"
        tracking, config = self.environment["MLFLOW_TRACKING_URI"], str(self.config)
        self.run("-m", "benchmarks.estimators.reference", tracking, self.name, config, str(out))
        return msgspec.json.decode(out.read_bytes(), type=Reference)


def test_column_that_may_be_missing_and_cleaned_rows_are_learned_and_served(tmp_path: Path, mlflow_url: str) -> None:
    adopter = Adopter(tmp_path, mlflow_url, "Data")
    iris = load_iris(as_frame=True)
    rows = iris.data.set_axis(list(COLUMNS), axis="columns").assign(
        species="iris " + iris.target_names.astype(object)[iris.target]
    )
    rows.loc[::15, "petal_width"] = None
    table = tmp_path / "iris.csv"
    rows.to_csv(table, index=False)
    complete(table)
    adopter.edit("  source: iris ", f"  source: {table} ")
    assert re.search(r"^petal_width +number +6\.7 %", adopter.check_data(), re.MULTILINE)
    adopter.train()
    with inference(adopter.environment, tmp_path / "inference.log", adopter.checkout) as service:
        assert service.predict(SETOSA | {"petal_width": None})["prediction"] == "setosa"
        assert service.client.post("/predict", json=SETOSA | {"petal_length": None}).status_code == 422


def test_own_transformer_is_registered_and_served_as_scikit_learn_answers(tmp_path: Path, mlflow_url: str) -> None:
    adopter = Adopter(tmp_path, mlflow_url, "Features")
    assert "estimator: random_forest" in adopter.check_data()
    version, _ = adopter.train()
    # ONNX knows no class of ours.
    assert "PetalArea" in version.tags["onnx.parity"]
    reference = adopter.reference()
    with inference(adopter.environment, tmp_path / "inference.log", adopter.checkout) as service:
        assert service.get("/health")["model"]["engine"] == "pyfunc"
        answers = service.predict(reference.records)["predictions"]
    assert len(answers) == 149
    assert all(is_equal(answer, reference, row) for row, answer in enumerate(answers))


def test_own_estimator_is_found_by_its_name(tmp_path: Path, mlflow_url: str) -> None:
    adopter = Adopter(tmp_path, mlflow_url, "Estimator")
    assert "estimator: nearest_mean:NearestMean" in adopter.check_data()
    _, run = adopter.train()
    recorded = run.data.params
    assert "nearest_mean:NearestMean" in recorded.values(), recorded
    assert "2.0" in recorded.values(), recorded


def test_line_of_the_catalogue_makes_an_estimator_known(tmp_path: Path, mlflow_url: str) -> None:
    adopter = Adopter(tmp_path, mlflow_url, "Estimator")
    adopter.edit("nearest_mean:NearestMean", "nearest_neighbours")
    adopter.edit("sharpness: 2.0", "n_neighbors: 7")
    assert "estimator: nearest_neighbours" in adopter.check_data()


def test_own_metric_decides(tmp_path: Path, mlflow_url: str) -> None:
    adopter = Adopter(tmp_path, mlflow_url, "Metric")
    assert "metrics: cost, accuracy" in adopter.check_data()
    version, run = adopter.train()
    assert version.tags["gate.reason"].startswith("cost ")
    assert 0 <= run.data.metrics["cost"] < 0.4


def test_own_route_is_served_documented_and_counted(tmp_path: Path) -> None:
    cached = without_mlflow(tmp_path)
    known = {
        "DATA_DIR": str(tmp_path / "data"),
        "MLFLOW_TRACKING_URI": cached.mlflow_url,
        "MODEL_NAME": cached.model_name,
    }
    with inference(known, tmp_path / "inference.log", adopted(tmp_path, "Route")) as service:
        assert service.get("/columns") == list(COLUMNS)
        assert "/columns" in service.get("/openapi.json")["paths"]
        assert service.client.get("/columns", headers={"Host": "elsewhere.example"}).status_code == 400
        metrics = service.client.get("/metrics").text
    counted = re.findall(r'^inference_http_requests_total{(.*route="/columns".*)} 1.0$', metrics, re.MULTILINE)
    assert len(counted) == 2, counted


def test_own_alert_is_accepted_fires_is_silent_and_has_its_page(tmp_path: Path) -> None:
    checkout = adopted(tmp_path, "Alert")
    assert set(alerts_of(checkout)) - set(alerts_of(REPOSITORY)) == {"NoTraffic"}
    require_accepted(checkout)
    require_cases(checkout)
    require_runbook(checkout)
    require_dashboard(checkout)


@pytest.mark.parametrize("command", ["ruff check src", "ruff format --check src", "mypy -p src"])
def test_own_code_passes_the_checks(tmp_path: Path, command: str) -> None:
    checkout = adopted(tmp_path, *sections_of(PAGE))
    program = [sys.executable, "-m", *command.split()]
    process = subprocess.run(program, cwd=checkout, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr


def test_page_names_only_files_that_exist() -> None:
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", PAGE) if "://" not in link]
    assert [link for link in links if link and not (REPOSITORY / "docs" / link).exists()] == []
    places = re.findall(r"`((?:src|config|docs)/[\w/.]+)`", PAGE)
    new = {
        block.path for section in sections_of(PAGE) for block in blocks_of(PAGE, section) if block.language == "python"
    }
    assert [place for place in places if place not in new and not (REPOSITORY / place).exists()] == []
