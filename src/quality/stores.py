"""Where the log and the labels of a model are, below the folder ``quality`` of ``DATA_DIR``."""

from pathlib import Path
from urllib.parse import quote

from src.core.feedback import FEEDBACK_FOLDER
from src.core.prediction_log import SEGMENTS_FOLDER
from src.quality.parquet_store import ParquetStore

LOG_FOLDER, LABELS_FOLDER = "log", "labels"


def log_store(quality_dir: Path, model: str) -> ParquetStore:
    """The prediction log of a registered model."""
    return ParquetStore(quality_dir / LOG_FOLDER / _name(model), quality_dir / SEGMENTS_FOLDER, time="time")


def label_store(quality_dir: Path, model: str) -> ParquetStore:
    """The labels of a registered model."""
    return ParquetStore(quality_dir / LABELS_FOLDER / _name(model), quality_dir / FEEDBACK_FOLDER, time="received")


def _name(model: str) -> str:
    """A model's name as the name of a folder."""
    return quote(model, safe=" ")
