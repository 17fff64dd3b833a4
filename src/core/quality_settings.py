"""Environment settings of the quality service."""

from typing import Annotated

from pydantic import AnyHttpUrl, Field

from src.core.prediction_log_settings import LogStoreSettings, PredictionLogSettings
from src.core.settings import CommonSettings, Port, SourceSettings, WriteKey


class QualitySettings(CommonSettings, SourceSettings, PredictionLogSettings, LogStoreSettings):
    """The quality service."""

    quality_host: str = Field("127.0.0.1", description="address of the quality service's metrics")
    quality_port: Port = Field(8002, description="port of the quality service's metrics")
    quality_seconds: Annotated[float, Field(gt=0, le=300)] = Field(
        60.0, description="how often rows and labels are taken in and the report is written, at most 300"
    )
    prediction_log_days: Annotated[int, Field(ge=1)] = Field(90, description="how long rows and labels are kept")
    prediction_log_max_bytes: Annotated[int, Field(ge=1)] = Field(
        2_000_000_000, description="most bytes of rows that are kept; the oldest are deleted"
    )
    feedback_patience_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        3600.0, description="how long a label may wait for its row before it counts as unmatched"
    )
    retrain_min_new_rows: Annotated[int, Field(ge=0)] = Field(
        0, description="how many new rows of the source request a training; 0: none"
    )
    retrain_min_new_labels: Annotated[int, Field(ge=0)] = Field(
        0, description="how many new labels request a training; 0: none"
    )
    inference_url: AnyHttpUrl = Field(
        AnyHttpUrl("http://127.0.0.1:8000"), description="inference service from which a rollback is requested"
    )
    write_api_key: WriteKey | None = Field(None, description="its key for writing requests, if it has one")
