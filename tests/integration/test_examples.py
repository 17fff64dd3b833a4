"""Each worked example, followed from its table to a served prediction by the steps of its README."""

import difflib
import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from examples.churn import make_data as churn
from examples.growing import make_data as growing
from examples.house_prices import make_data as house_prices
from src.services.local.processes import REPOSITORY
from src.training.propose.seal import PREFIX
from tests.support.inference_process import Inference
from tests.support.training import run_training

# A training on a busy machine takes minutes.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
EXAMPLES = REPOSITORY / "examples"
MAX_EDITS = 2
MAX_README = 40


@dataclass
class Example:
    """An example that is followed in a folder of its own.

    Attributes:
        name: of its folder below ``examples/``.
        folder: stands for ``data-file/``.
        mlflow_url: a real MLflow server.
    """

    name: str
    folder: Path
    mlflow_url: str

    @property
    def readme(self) -> str:
        return (EXAMPLES / self.name / "README.md").read_text(encoding="utf-8")

    @property
    def shipped(self) -> str:
        """Its configuration, with the table in this folder."""
        text = (EXAMPLES / self.name / "pipeline.yaml").read_text(encoding="utf-8")
        return text.replace("data-file/", f"{self.folder}/")

    @property
    def model_name(self) -> str:
        return f"{self.name}-example"

    def command(self, start: str) -> list[str]:
        """The README's command that starts with this text, with this folder in place of data-file."""
        (line,) = [line for line in self.readme.splitlines() if line.startswith(start)]
        return shlex.split(line.replace("data-file/", f"{self.folder}/"))

    def proposed(self) -> str:
        """The text that the README's ``make config`` writes."""
        options = dict(word.split("=", 1) for word in self.command("make config")[2:])
        out = self.folder / "proposed.yaml"
        arguments = ["--csv", options["CSV"], "--target", options["TARGET"], "--time", options.get("TIME", "")]
        subprocess.run(
            [sys.executable, "-m", "src.services.local.make_config", *arguments, "--out", str(out)],
            cwd=REPOSITORY,
            check=True,
            capture_output=True,
        )
        return out.read_text(encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        file = self.folder / "pipeline.yaml"
        file.write_text(self.shipped, encoding="utf-8")
        return {"MODEL_NAME": self.model_name, "MLFLOW_EXPERIMENT": self.model_name, "PIPELINE_CONFIG": str(file)}

    def check_data(self) -> str:
        found = subprocess.run(
            [sys.executable, "-m", "src.services.local.check_data"],
            cwd=REPOSITORY,
            env=os.environ | self.environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return found.stdout

    def train(self) -> ModelVersion:
        """Train once; the newest version, which must be promoted."""
        process = run_training(self.folder / "state", self.mlflow_url, **self.environment)
        assert process.returncode == 0, process.stderr
        assert [line for line in process.stderr.splitlines() if "WARNING" in line] == []
        version = MlflowClient(self.mlflow_url).get_model_version_by_alias(self.model_name, "challenger")
        assert version.tags["gate.verdict"] == "promoted", version.tags
        return version

    def predict(self) -> Any:
        """Send the README's request to the inference service; return the response."""
        body = self.command("curl -H")[4]
        inference = Inference(self.folder, self.mlflow_url, self.model_name)
        with inference.serving():
            answer = httpx.post(f"{inference.url}/predict", json=json.loads(body), timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "data"
    found.mkdir()
    return found


def edits(proposed: str, shipped: str) -> list[str]:
    """The lines of the shipped file that ``make config`` has not written."""
    lines = difflib.ndiff(proposed.splitlines(), shipped.splitlines())
    return [line[2:] for line in lines if line.startswith("+ ") and PREFIX not in line]


def require_as_proposed(example: Example) -> None:
    """The shipped file must be the result of the README's command and edits."""
    assert len(example.readme.splitlines()) <= MAX_README
    found = edits(example.proposed(), example.shipped)
    assert len(found) <= MAX_EDITS
    for line in found:
        assert line.partition(" #")[0].strip() in example.readme


def learn(example: Example, shown: str) -> ModelVersion:
    """Follow the README up to the training; ``make check-data`` must print ``shown``."""
    require_as_proposed(example)
    assert shown in example.check_data()
    return example.train()


def test_churn_is_learned_and_served(folder: Path, mlflow_url: str) -> None:
    example = Example("churn", folder, mlflow_url)
    churn.write(folder / "incoming" / "churn.csv")
    assert "average_precision" in learn(example, "Churn?").tags["gate.reason"]
    answer = example.predict()
    assert answer["prediction"] in {"Yes", "No"}
    assert set(answer["probabilities"]) == {"Yes", "No"}


def test_house_prices_are_learned_and_served(folder: Path, mlflow_url: str) -> None:
    example = Example("house_prices", folder, mlflow_url)
    house_prices.write(folder / "incoming" / "house_prices.csv")
    learn(example, "Preis €")
    assert 100_000 < example.predict()["prediction"] < 1_000_000


def test_growing_table_is_learned_again_as_new_files_arrive(folder: Path, mlflow_url: str) -> None:
    example = Example("growing", folder, mlflow_url)
    incoming = folder / "incoming" / "deliveries"
    assert len(growing.deliver(incoming, 6)) == 6
    first = learn(example, "held out by time shipped_at")
    assert len(growing.deliver(incoming, 8)) == 2
    second = example.train()
    assert second.version != first.version
    assert f"champion version {first.version} has " in second.tags["gate.reason"]
    assert "rows that neither was trained on (both models' split rules hold them out)" in second.tags["gate.reason"]
    answer = example.predict()
    assert answer["model"]["version"] == second.version
    assert answer["prediction"] in {"late", "on time"}
