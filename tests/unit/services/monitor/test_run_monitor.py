"""Which trainer the monitor uses."""

import contextlib
from pathlib import Path

import pytest

from src.core.errors import ConfigError
from src.core.monitor_settings import MonitorSettings
from src.core.wakeups import Wakeups
from src.services.monitor.run_monitor import trainer_for
from src.services.monitor.trainer import DockerTrainer, ProcessTrainer


def settings(folder: Path, **changed: str) -> MonitorSettings:
    return MonitorSettings(_env_file=None, data_dir=folder, **changed)  # type: ignore[arg-type]


def test_setting_chooses_the_trainer(tmp_path: Path) -> None:
    with contextlib.closing(trainer_for(settings(tmp_path), ("true",), Wakeups())) as trainer:
        assert isinstance(trainer, ProcessTrainer)
    of_container = settings(tmp_path, train_container="loop-train", docker_host="tcp://127.0.0.1:1")
    with contextlib.closing(trainer_for(of_container, ("true",), Wakeups())) as trainer:
        assert isinstance(trainer, DockerTrainer)


def test_job_needs_a_pods_service_account(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="TRAIN_JOB needs the service account"):
        trainer_for(settings(tmp_path, train_job="train-model"), ("true",), Wakeups())
