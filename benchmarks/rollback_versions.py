"""Flowers like Iris in any number, and versions of the model that are trained on them and registered."""

import logging
from dataclasses import dataclass

import mlflow
import numpy as np
import pandas as pd
from mlflow.tracking import MlflowClient
from sklearn.datasets import load_iris
from sklearn.pipeline import Pipeline

from src.core.file_lock import locked_file
from src.core.model_registry import TAG_MANIFEST_SHA256
from src.core.pipeline_config import PipelineConfig
from src.core.rollout_record import Rollout
from src.core.rollouts import Rollouts
from src.core.settings import CommonSettings
from src.pipeline import train_model
from src.training.alias_moves import move_aliases
from src.training.package_model import build_package, log_package
from src.training.registry import ModelRegistry
from src.training.splitting import split_rows

TRAINING_ROWS, TEST_ROWS = 1000, 20_000
LEAST = 0.1
# Flowers of the one class with the shortest petals that a wrong source gives the name of the other.
WRONG, NAMED = "virginica", "versicolor"
WRONG_SHARE = 0.3


@dataclass(frozen=True)
class Flowers:
    """A population with a normal distribution for each class of Iris, with its means and covariances."""

    config: PipelineConfig

    def draw(self, count: int, random: np.random.Generator) -> pd.DataFrame:
        """So many rows with their true classes; in centimetres."""
        measured, classes = load_iris(return_X_y=True)
        names, dataset = load_iris().target_names, self.config.dataset
        drawn = random.integers(0, len(names), count)
        rows = np.empty((count, measured.shape[1]))
        for number in range(len(names)):
            known, chosen = measured[classes == number], drawn == number
            rows[chosen] = random.multivariate_normal(known.mean(axis=0), np.cov(known.T), chosen.sum())
        frame = pd.DataFrame(rows.clip(LEAST).round(2), columns=list(dataset.features))
        return frame.assign(**{dataset.target: names[drawn]})

    def mislabelled(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows as a source with a systematic mistake has them."""
        target, length = self.config.dataset.target, frame["petal_length"]
        is_wrong = frame[target] == WRONG
        short = length <= length[is_wrong].quantile(WRONG_SHARE)
        return frame.assign(**{target: frame[target].mask(is_wrong & short, NAMED)})


@dataclass(frozen=True)
class Versions:
    """Registers and promotes versions as a training does, except for the gate.

    Attributes:
        registry: of the MLflow server whose address is MLflow's tracking URI.
        config: what is learned.
        settings: the folders that the services share.
        test: rows with true labels on which versions are compared for the report.
    """

    registry: ModelRegistry
    config: PipelineConfig
    settings: CommonSettings
    test: pd.DataFrame

    def register(self, frame: pd.DataFrame) -> tuple[str, float]:
        """Train on rows and register the model; return its version, and its accuracy by true labels."""
        logging.getLogger("mlflow").setLevel(logging.ERROR)  # it warns that the environment has no pip
        parts = split_rows(frame, self.config, None)
        model: Pipeline = train_model.fit(parts.train, self.config.model, self.config.dataset)
        package = build_package(model, parts.train, parts.holdout, self.config.dataset, parts.rule)
        with mlflow.start_run():
            version, digest = log_package(package, self.registry.name)
        self.registry.tag(version, {TAG_MANIFEST_SHA256: digest})
        target = self.config.dataset.target
        return version, float((model.predict(self.test.drop(columns=target)) == self.test[target]).mean())

    def promote(self, version: str, previous: str | None, rollout: Rollout | None) -> None:
        """Make a version champion, and begin its watch if there is one to compare with."""
        self.settings.alias_lock.parent.mkdir(parents=True, exist_ok=True)
        with locked_file(self.settings.alias_lock):
            move_aliases(self.registry, version, previous)
        if rollout is not None:
            Rollouts(self.settings.rollouts_dir).begin(rollout)


def versions_of(url: str, config: PipelineConfig, settings: CommonSettings, test: pd.DataFrame) -> Versions:
    """The versions of an MLflow server, which becomes MLflow's tracking URI in this process."""
    mlflow.set_tracking_uri(url)
    return Versions(ModelRegistry(MlflowClient(url), settings.model_name), config, settings, test)
