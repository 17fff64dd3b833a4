"""Links to MLflow, ZenML and Grafana."""

from dataclasses import dataclass
from typing import Self
from urllib.parse import quote

from src.core.settings import InferenceSettings


@dataclass(frozen=True)
class Links:
    """Base URLs without a trailing slash; None where there is nothing to lead to."""

    mlflow: str
    zenml: str | None
    grafana: str | None

    @classmethod
    def from_settings(cls, settings: InferenceSettings) -> Self:
        """Those that are configured."""
        zenml = settings.zenml_public_url
        return cls(settings.mlflow_link, str(zenml).rstrip("/") if zenml is not None else None, settings.grafana_link)

    def mlflow_run(self, run_id: str | None) -> str | None:
        """An MLflow run's page."""
        return f"{self.mlflow}/#/runs/{quote(run_id, safe='')}" if run_id else None

    def version(self, name: str, version: str) -> str:
        """A registered version's page in MLflow."""
        return f"{self.mlflow}/#/models/{quote(name, safe='')}/versions/{quote(version, safe='')}"

    def zenml_run(self, run_id: str | None) -> str | None:
        """A pipeline run's page in ZenML's dashboard."""
        return f"{self.zenml}/projects/default/runs/{quote(run_id, safe='')}" if self.zenml and run_id else None
