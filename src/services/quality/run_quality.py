"""Entry point: the quality service, until SIGTERM or Ctrl-C."""

import logging
import os
import signal
import sys
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry

from src.core.audit_log import AuditLog
from src.core.errors import LoopError
from src.core.folders import explaining_unwritable, make_folder
from src.core.log import configure_logging
from src.core.metrics_server import serving_metrics
from src.core.new_data import NEW_DATA_FILE
from src.core.quality_settings import QualitySettings
from src.core.retrain_queue import open_queue
from src.core.settings import load_settings
from src.core.wakeups import Wakeups
from src.services.quality.amounts import AmountRequests
from src.services.quality.metrics import QualityMetrics
from src.services.quality.quality_service import QualityService, Task
from src.services.quality.reporter import QualityReporter
from src.services.quality.tasks import StoreTasks

logger = logging.getLogger(__name__)


def main() -> int:
    """Run the service; return 0 after a stop signal, 1 when it could not start."""
    try:
        settings = load_settings(QualitySettings)
        configure_logging("quality", log_format=settings.log_format, level=settings.log_level)
        ended = serve(settings)
    except LoopError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command's own output
        return 1
    if not ended:
        logger.warning("a step was ended; it is repeated after the next start")
        logging.shutdown()
        # An ordinary exit would wait for the thread, or let it return into an interpreter that has gone.
        os._exit(0)
    return 0


def serve(settings: QualitySettings) -> bool:
    """Take in rows and labels and report, until SIGTERM or SIGINT; return whether the last step has ended.

    With ``PREDICTION_LOG=false`` nothing is reported, and what came before expires.

    Raises:
        ConfigError: the data folder is not writable.
        ConnectionFailedError: the metrics port is in use.
    """
    wakeups = Wakeups()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: wakeups.stop())
    registry = CollectorRegistry()
    metrics = QualityMetrics(registry)
    with serving_metrics(registry, host=settings.quality_host, port=settings.quality_port, variable="QUALITY_PORT"):
        ended = build_service(settings, metrics).run(wakeups)
    logger.info("stopped")
    return ended


def build_service(settings: QualitySettings, metrics: QualityMetrics) -> QualityService:
    """The loop over the stores of DATA_DIR. Raises ConfigError: the folder is not writable."""
    tasks, reporter = StoreTasks(settings), None
    if settings.prediction_log:
        with explaining_unwritable():
            make_folder(settings.quality_dir)
        metrics.expect_reports(datetime.now(UTC))
        reporter = QualityReporter(settings, metrics)
        logger.info("taking in predictions and labels from %s", settings.quality_dir)
    else:
        logger.info("no live quality is computed, because PREDICTION_LOG=false")
    return QualityService(
        [*(tasks.all() if settings.prediction_log else tasks.without_log()), *_amount_tasks(settings, metrics)],
        reporter,
        metrics,
        settings.quality_seconds,
        clock=lambda: datetime.now(UTC),
    )


def _amount_tasks(settings: QualitySettings, metrics: QualityMetrics) -> list[Task]:
    """The tasks that request trainings, if any threshold is set. Raises ConfigError: the folder is not writable."""
    if not (settings.retrain_min_new_rows or settings.retrain_min_new_labels):
        with explaining_unwritable():
            (settings.retrain_dir / NEW_DATA_FILE).unlink(missing_ok=True)
        return []
    with explaining_unwritable():
        audit = AuditLog(settings.audit_file, metrics.audit_failed)
        spool = open_queue(settings, audit=audit).create()
    return AmountRequests(settings, spool).tasks()


if __name__ == "__main__":
    sys.exit(main())
