"""Entry point: the monitor, until SIGTERM or Ctrl-C."""

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry

from src.core.audit_log import AuditLog
from src.core.errors import LoopError
from src.core.folders import explaining_unwritable
from src.core.log import configure_logging
from src.core.metrics_server import serving_metrics
from src.core.monitor_settings import MonitorSettings
from src.core.retrain_queue import open_queue
from src.core.settings import load_settings
from src.core.wakeups import Wakeups
from src.services.monitor.kubernetes_api import KubernetesApi
from src.services.monitor.kubernetes_trainer import KubernetesTrainer
from src.services.monitor.metrics import MonitorMetrics
from src.services.monitor.monitor_service import MonitorService
from src.services.monitor.retrain_policy import RetrainPolicy
from src.services.monitor.trainer import DockerTrainer, ProcessTrainer, Trainer
from src.services.monitor.watch import watching

REPOSITORY = Path(__file__).resolve().parents[3]
TRAINING_COMMAND = (sys.executable, "run_pipeline.py")

logger = logging.getLogger(__name__)


def main() -> int:
    """Run the monitor; return 0 after a stop signal, 1 when it could not start."""
    try:
        settings = load_settings(MonitorSettings)
        configure_logging("monitor", log_format=settings.log_format, level=settings.log_level)
        serve(settings, TRAINING_COMMAND)
    except LoopError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command's own output
        return 1
    return 0


def serve(settings: MonitorSettings, command: Sequence[str]) -> None:
    """Watch the spool and start trainings, until SIGTERM or SIGINT.

    Args:
        settings: include the training container or Job, if any.
        command: the training otherwise, run in the repository's root.

    Raises:
        ConfigError: the data folder is not writable, RETRAIN_SCHEDULE is invalid, or TRAIN_JOB is set outside a pod.
        ConnectionFailedError: the metrics port is in use, or DOCKER_HOST is not an address.
    """
    wakeups = Wakeups()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: wakeups.stop())
    policy = RetrainPolicy.from_settings(settings)
    registry = CollectorRegistry()
    metrics = MonitorMetrics(registry)
    with explaining_unwritable():
        spool = open_queue(settings, audit=AuditLog(settings.audit_file, metrics.audit_failed)).create()
    trainer = trainer_for(settings, command, wakeups)
    service = MonitorService(spool, trainer, metrics, policy, clock=lambda: datetime.now(UTC))
    with (
        serving_metrics(registry, host=settings.monitor_host, port=settings.monitor_port, variable="MONITOR_PORT"),
        contextlib.closing(trainer),
        watching(spool.root / "new", wakeups) if settings.retrain_queue == "file" else contextlib.nullcontext(),
    ):
        place = spool.root if settings.retrain_queue == "file" else "the database"
        logger.info("watching %s for retrain signals", place)
        service.run(wakeups)
        service.stop()
    logger.info("stopped")


def trainer_for(settings: MonitorSettings, command: Sequence[str], wakeups: Wakeups) -> Trainer:
    """The trainer that the settings choose: a container, a Kubernetes Job or a child process.

    Raises:
        ConfigError: TRAIN_JOB is set outside a pod.
        ConnectionFailedError: DOCKER_HOST is not an address.
    """
    if settings.train_container is not None:
        return DockerTrainer(settings.docker_host, settings.train_container)
    if settings.train_job is not None:
        return KubernetesTrainer(KubernetesApi(), settings.train_job, start_seconds=settings.train_start_seconds)
    return ProcessTrainer(
        command,
        cwd=REPOSITORY,
        environment=os.environ,
        lock_file=settings.retrain_dir / "process.lock",
        on_exit=wakeups.wake,
    )


if __name__ == "__main__":
    sys.exit(main())
