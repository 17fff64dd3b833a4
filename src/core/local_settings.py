"""Environment settings of the whole loop on one machine."""

from pydantic import Field

from src.core.inference_settings import InferenceSettings
from src.core.monitor_settings import MonitorSettings
from src.core.quality_settings import QualitySettings
from src.core.settings import Port


class LocalSettings(InferenceSettings, MonitorSettings, QualitySettings):
    """The whole loop as processes on one machine (``make local``)."""

    mlflow_port: Port = Field(5000, description="port of the MLflow server that make local starts")
