"""What the model store reports to the metrics."""

from typing import Protocol

from src.serving.models.predictor import Predictor

# Outcomes of an attempt to serve another version.
SUCCESS = "success"
DOWNLOAD_FAILED = "download_failed"
INVALID = "invalid"
ERROR = "error"
RELOAD_OUTCOMES = (SUCCESS, DOWNLOAD_FAILED, INVALID, ERROR)


class StoreMetrics(Protocol):
    """Records what the store did."""

    def reload(self, outcome: str) -> None:
        """Count an attempt to serve another version, with one of ``RELOAD_OUTCOMES``."""

    def model_loaded(self, predictor: Predictor) -> None:
        """This model is served from now on."""

    def mlflow_reachable(self, *, reachable: bool) -> None:
        """Whether the last look-up of the champion succeeded."""

    def serves_champion(self, *, served: bool) -> None:
        """Whether the served model is the champion."""
