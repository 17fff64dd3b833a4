"""Environment settings of the training process."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AnyHttpUrl, Field, SecretStr, model_validator

from src.core.settings import LinkingSettings, SourceSettings


class TrainSettings(LinkingSettings, SourceSettings):
    """The training process (``run_pipeline.py``) and the preprocess entry point."""

    mlflow_experiment: str = Field("iris-training", min_length=1, description="MLflow experiment for training runs")
    server_patience_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        60.0, description="how long a run that serves retrain requests waits for MLflow and ZenML to answer"
    )
    zenml_store_url: AnyHttpUrl | None = Field(None, description="ZenML server; unset: the local SQLite store")
    zenml_store_api_key: SecretStr | None = Field(None, description="ZenML service-account key for that server")
    zenml_config_path: Path | None = Field(
        None, description="ZenML client state and local store; unset: DATA_DIR/local/zenml"
    )

    @model_validator(mode="after")
    def _server_needs_key(self) -> Self:
        # A key without a URL is allowed: .env has it for the Compose stack.
        if self.zenml_store_url is not None and self.zenml_store_api_key is None:
            raise ValueError("ZENML_STORE_URL needs ZENML_STORE_API_KEY; set both, or neither")
        return self

    @property
    def zenml_dir(self) -> Path:
        """Where ZenML keeps its client state and its local store."""
        return self.zenml_config_path or self.local_dir / "zenml"
