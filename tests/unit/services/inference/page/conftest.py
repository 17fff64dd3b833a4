from typing import Any

import pytest

from src.serving.models.model_loader import load_predictor
from src.serving.models.model_version import ModelVersion
from src.serving.models.predictor import Predictor


@pytest.fixture(scope="module")
def predictor(models: Any) -> Predictor:
    """Version 2 of iris."""
    directory, digest = models["first"]
    return load_predictor(directory, ModelVersion(name="iris", version="2", manifest_sha256=digest), "cache")
