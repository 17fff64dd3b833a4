from pathlib import Path

import pytest

from src.core.quality_settings import QualitySettings
from tests.support.configuration import CONFIG_FILE


@pytest.fixture
def settings(tmp_path: Path) -> QualitySettings:
    """A folder of its own, and the shipped configuration."""
    return QualitySettings(_env_file=None, data_dir=tmp_path, model_name="iris", pipeline_config=CONFIG_FILE)
