"""Computes the live quality with the adopter's metrics, writes the report, and shows it as metrics."""

import logging
import os
from collections.abc import Sequence
from datetime import datetime, timedelta

from src.core.audit_log import AuditLog
from src.core.calibration import Calibration, calibration_file, read_calibration
from src.core.errors import LoopError
from src.core.memory import memory_limit
from src.core.pipeline_config import load_pipeline_config
from src.core.prediction_log import Sampling
from src.core.quality_report import REPORT_FILE, QualityReport, read_report
from src.core.quality_settings import QualitySettings
from src.core.rollout_record import RolloutState
from src.core.rollouts import Rollouts
from src.pipeline.metrics import METRICS
from src.quality.bucket import open_bucket
from src.quality.challenger_watch import ChallengerWatch
from src.quality.estimate import Estimator
from src.quality.live_quality import Resources
from src.quality.report import ReportBuilder, write_report
from src.quality.stores import stores_of
from src.quality.watch import Watch
from src.services.quality.metrics import QualityMetrics
from src.services.quality.rollout_requests import RolloutRequests
from src.services.quality.scorer import LiveScorer

# The share of the memory limit that the join gets: scikit-learn and the rows that are scored need the rest.
MEMORY_SHARE = 0.5
# More would not make a join of the usual size faster.
MAX_MEMORY_BYTES = 1_000_000_000
MAX_THREADS = 2
# Below the folder of rows and labels: what the join cannot keep in memory. A disk, unlike a container's /tmp.
SPILL_FOLDER = "spill"
ROLLED_BACK = frozenset({RolloutState.ROLLED_BACK})

logger = logging.getLogger(__name__)


class QualityReporter:
    """Reports about one model.

    The report of a former process is shown until there is a new one.

    Args:
        settings: folders, and the pipeline's configuration, which is read anew each time.
        metrics: show the newest report.
    """

    def __init__(self, settings: QualitySettings, metrics: QualityMetrics) -> None:
        self._settings = settings
        self._metrics = metrics
        folder, model = settings.quality_dir, settings.model_name
        self._stores = stores_of(folder, model, open_bucket(settings.prediction_log_store))
        self._file = folder / REPORT_FILE
        memory = int(min(MAX_MEMORY_BYTES, memory_limit() * MEMORY_SHARE))
        self._resources = Resources(memory, folder / SPILL_FOLDER, threads=min(MAX_THREADS, os.cpu_count() or 1))
        self._rollouts = Rollouts(settings.rollouts_dir, AuditLog(settings.audit_file, metrics.audit_failed))
        self._requests = RolloutRequests(str(settings.inference_url), settings.write_api_key)
        self._builder: ReportBuilder | None = None
        try:
            report = read_report(self._file, model)
            if report is not None:
                self._show(report)
        except (LoopError, OSError) as error:  # the first step says more
            logger.warning("the former report is not shown: %s", error)

    def report(self, now: datetime, problems: Sequence[str]) -> None:
        """Compute, write and show the report.

        Raises:
            ConfigError: the configuration or a metric is wrong, or a manifest is damaged.
            duckdb.Error, OSError, pyarrow.ArrowException: a file cannot be read or written.
        """
        model = self._settings.model_name
        scorer = LiveScorer(load_pipeline_config(self._settings.pipeline_config), METRICS)
        watch = Watch(self._rollouts, model, scorer.by_class, scorer.by_gate, self._requests.roll_back)
        self._builder = ReportBuilder(
            model=model,
            stores=self._stores,
            scorer=scorer,
            sampling=Sampling(self._settings.log_key),
            patience=timedelta(seconds=self._settings.feedback_patience_seconds),
            resources=self._resources,
            estimator=Estimator(self._calibration_of, scorer),
            watch=watch,
            challengers=ChallengerWatch(watch, self._requests.approve, self._requests.reject),
        )
        report = self._builder.build(now, problems)
        write_report(self._file, report)
        self._show(report)

    def interrupt(self) -> None:
        """End a running join as soon as possible."""
        builder = self._builder
        if builder is not None:
            builder.interrupt()

    def _calibration_of(self, version: str) -> Calibration | None:
        folder, model = self._settings.calibration_dir, self._settings.model_name
        return read_calibration(calibration_file(folder, model, version))

    def _show(self, report: QualityReport) -> None:
        received = [file.last for file in self._stores.labels.manifest.files]
        model = self._settings.model_name
        newest, rolled_back = self._rollouts.recent(model, 1), self._rollouts.recent(model, 1, ROLLED_BACK)
        shown = (found[0] if found else None for found in (newest, rolled_back))
        self._metrics.show(report, max(received, default=None), *shown)
