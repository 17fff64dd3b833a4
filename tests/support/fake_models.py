"""Models and a registry of them, without files and servers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.core.errors import InvalidModelError
from src.core.feature_table import FeatureTable
from src.core.predictions import Predictions
from src.training.registry import Contract, FetchedModel
from src.training.splitting import SplitRule


class FakeEngine:
    """Answers with what a function makes of a table: (n, classes) probabilities, or (n,) numbers of a regression."""

    name = "onnx"

    def __init__(self, answer: Callable[[FeatureTable], Any], classes: tuple[str, ...] = ()) -> None:
        self._answer = answer
        self.classes = classes
        self.asked = 0

    def predict(self, table: FeatureTable) -> Predictions:
        self.asked = len(table)
        found: NDArray[np.float64] = np.asarray(self._answer(table), dtype=np.float64)
        return Predictions(None, found, self.classes) if self.classes else Predictions(found.tolist())


@dataclass
class FakeVersion:
    """What MLflow knows of a version."""

    version: str
    tags: dict[str, str] = field(default_factory=dict)
    run_id: str = "run"
    creation_timestamp: int = 0


class FakeRegistry:
    """Holds models by version; None or an error cannot be loaded, and ``contracts`` may have what it answers."""

    name = "made-up"

    def __init__(self, models: Mapping[str, FetchedModel | InvalidModelError | None], **aliases: str) -> None:
        self.models = models
        self.aliases = aliases
        self.contracts: dict[str, Contract] = {}
        self.versions_by_number = {number: FakeVersion(number) for number in models}
        self.run_parameters: dict[str, str] = {}

    def version_of(self, alias: str) -> FakeVersion | None:
        return self.versions_by_number[self.aliases[alias]] if alias in self.aliases else None

    def versions(self) -> list[FakeVersion]:
        return list(reversed(self.versions_by_number.values()))

    def version(self, number: str) -> FakeVersion:
        return self.versions_by_number[number]

    def parameters(self, version: FakeVersion) -> dict[str, str]:
        return self.run_parameters if version.version in self.versions_by_number else {}

    def fetch(self, number: str) -> FetchedModel:
        model = self.models[number]
        if isinstance(model, InvalidModelError):
            raise model
        if model is None:
            raise InvalidModelError(f"version {number} lacks model.onnx")
        return model

    def contract(self, number: str) -> Contract:
        return self.contracts[number] if number in self.contracts else self.fetch(number).contract

    def split_rule(self, number: str) -> SplitRule | None:
        return self.fetch(number).split_rule
