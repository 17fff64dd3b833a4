"""What tests of training share: a configuration, small models, and a training process."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from mlflow.models import Model
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

from src.core.model_config import ModelConfig
from src.core.pipeline_config import PipelineConfig, load_pipeline_config
from src.core.retrain_record import Outcome, Scores
from src.pipeline import data_preprocess, train_model
from src.services.local.processes import REPOSITORY
from src.training.gate import Verdict
from src.training.package_model import Flavours, ModelPackage, build_package
from src.training.splitting import Split, SplitRule, split_rows
from tests.support.configuration import CONFIG_FILE

PERFECT: Scores = {"accuracy": 1.0, "f1_macro": 1.0, "neg_log_loss": -0.01}
VERDICT = Verdict(
    outcome=Outcome.PROMOTED,
    reason="good",
    model_name="iris",
    model_version="4",
    mlflow_run_id="run",
    challenger=PERFECT,
)


def config(**sections: dict[str, Any]) -> PipelineConfig:
    """The tests' configuration with some values replaced, section by section."""
    raw = load_pipeline_config(CONFIG_FILE).model_dump()
    # An estimator's parameter is named without the section it stands in.
    model = {name: value for name, value in sections.get("model", {}).items() if name in ModelConfig.model_fields}
    params = {name: value for name, value in sections.get("model", {}).items() if name not in model}
    sections["model"] = {"params": raw["model"]["params"] | params} | model
    return PipelineConfig.model_validate(
        {name: value | sections[name] if name in sections else value for name, value in raw.items()}
    )


def write_config(file: Path, **sections: dict[str, Any]) -> Path:
    """The same as a file."""
    file.write_text(yaml.safe_dump(config(**sections).model_dump(), sort_keys=False), encoding="utf-8")
    return file


@cache
def iris_split() -> Split:
    """Iris, split as configured."""
    settings = config()
    return split_rows(data_preprocess.prepare(settings.dataset).frame, settings, None)


def iris_parts() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Iris's training rows and holdout."""
    return iris_split().train, iris_split().holdout


def iris_rule() -> SplitRule:
    """By what Iris's holdout is held out."""
    return iris_split().rule


@cache
def iris_package() -> ModelPackage:
    """A small model of Iris, packaged."""
    settings = config(model={"n_estimators": 10})
    train, holdout = iris_parts()
    model = train_model.fit(train, settings.model, settings.dataset)
    return build_package(model, train, holdout, settings.dataset, iris_rule())


def save_iris(directory: Path) -> str:
    """Write that model's directory; return its manifest's SHA-256."""
    flavours = Flavours(iris_package())
    flavours.save_model(str(directory), mlflow_model=Model())
    return flavours.manifest_sha256


@cache
def inexact_package() -> ModelPackage:
    """A model of Iris that ONNX does not follow, packaged: its distances are computed in another precision."""
    train, holdout = iris_parts()
    model = Pipeline([("neighbours", KNeighborsClassifier())])
    model.fit(train.drop(columns="species"), train["species"].to_numpy(dtype=object))
    return build_package(model, train, holdout, config().dataset, iris_rule())


def run_training(folder: Path, mlflow_url: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``run_pipeline.py`` to its end, its state under ``folder``; its log is in ``stderr``."""
    return subprocess.run(
        [sys.executable, "run_pipeline.py"],
        cwd=REPOSITORY,
        env=training_environment(folder, mlflow_url) | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def training_environment(folder: Path, mlflow_url: str) -> dict[str, str]:
    """The environment of a training process."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ZENML_", "MLFLOW_"))}
    inherited.pop("PYTHONDONTWRITEBYTECODE", None)  # would make each start three times slower
    return inherited | {"DATA_DIR": str(folder), "MLFLOW_TRACKING_URI": mlflow_url}


def last_line(process: subprocess.CompletedProcess[str]) -> str:
    return process.stderr.splitlines()[-1]
