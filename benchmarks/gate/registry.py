"""A registry of two models in memory, which notes the rows that they are asked for."""

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
    """Answers as scikit-learn does, and keeps the first column of what it is asked."""

    def __init__(self, model: Any) -> None:
        super().__init__(model, tuple(str(name) for name in model.classes_))
        self.asked: list[NDArray[np.float64]] = []

    def predict(self, table: FeatureTable) -> Predictions:
        """Answer every row."""
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
        """What the gate reads of a version."""
        return cast("ModelVersion", SimpleNamespace(version=number, tags={}))

    def fetch(self, version: str) -> FetchedModel:
        """The model as it is."""
        place = int(version) - 1
        return FetchedModel(version, FeatureSchema.of_numbers(*FEATURES), self._engines[place], self._rules[place])

    def contract(self, version: str) -> Contract:
        """What the model takes and answers."""
        return self.fetch(version).contract

    @property
    def asked(self) -> NDArray[np.float64]:
        """The first column of all rows that either model answered."""
        return np.concatenate([column for engine in self._engines for column in engine.asked])
