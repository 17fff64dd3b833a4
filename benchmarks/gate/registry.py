"""An in-memory registry of two models that records the rows they are scored on."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from mlflow.entities.model_registry import ModelVersion
from numpy.typing import NDArray

from benchmarks.gate.tables import FEATURES
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.model_registry import CHAMPION
from src.core.predictions import Predictions
from src.training.registry import Contract, FetchedModel, ModelRegistry
from src.training.sklearn_engine import SklearnEngine
from src.training.splitting import SplitRule


class RecordingEngine(SklearnEngine):
    """A scikit-learn engine that records the first column of its rows."""

    def __init__(self, model: Any) -> None:
        super().__init__(model, tuple(str(name) for name in model.classes_))
        self.asked: list[NDArray[np.float64]] = []

    def predict(self, table: FeatureTable) -> Predictions:
        """Predict every row."""
        self.asked.append(table.columns[0])
        return super().predict(table)


class TwoVersions(ModelRegistry):
    """Version 1 is the champion, version 2 the challenger."""

    def __init__(self, models: Sequence[Any], rules: tuple[SplitRule, SplitRule]) -> None:
        self._engines = [RecordingEngine(model) for model in models]
        self._rules = rules

    def version_of(self, alias: str) -> ModelVersion | None:
        """Only the champion has an alias."""
        return self.version("1") if alias == CHAMPION else None

    def version(self, number: str) -> ModelVersion:
        """The part of a version that the gate reads."""
        return cast("ModelVersion", SimpleNamespace(version=number, tags={}))

    def fetch(self, version: str) -> FetchedModel:
        """The model, without a download."""
        place = int(version) - 1
        return FetchedModel(version, FeatureSchema.of_numbers(*FEATURES), self._engines[place], self._rules[place])

    def contract(self, version: str) -> Contract:
        """The model's interface."""
        return self.fetch(version).contract

    @property
    def asked(self) -> NDArray[np.float64]:
        """The first column of all rows that either model was scored on."""
        return np.concatenate([column for engine in self._engines for column in engine.asked])
