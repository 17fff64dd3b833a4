"""The quality service's Prometheus metrics: gauges of the last report; what is unknown has no series."""

from collections.abc import Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from src.core.quality_report import QualityReport
from src.core.rollout_record import Rollout

HEARTBEAT = "quality_heartbeat_timestamp_seconds"
_OF_VERSION = ["model_version", "role"]
_OF_PROMOTION = ["model_version", "previous_version"]
_OF_SCORE = [*_OF_VERSION, "metric", "window"]


class QualityMetrics(Collector):
    """Gauges of one quality service, made from the newest report at each scrape.

    So a scrape never sees parts of two reports, and a version that leaves the report loses its series.

    Args:
        registry: where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._beat = 0.0
        self._started: float | None = None
        self._report: QualityReport | None = None
        self._newest_label: datetime | None = None
        self._audit_failures = 0
        self._rollout: Rollout | None = None
        self._rolled_back: Rollout | None = None
        registry.register(self)

    def beat(self, at: datetime) -> None:
        """A step begins."""
        self._beat = at.timestamp()

    def audit_failed(self) -> None:
        """An entry of the audit log could not be written."""
        self._audit_failures += 1

    def expect_reports(self, since: datetime) -> None:
        """Reports are written from now on; before the first one, ``since`` counts as the time of the last."""
        self._started = since.timestamp()

    def show(
        self,
        report: QualityReport,
        newest_label: datetime | None,
        rollout: Rollout | None = None,
        rolled_back: Rollout | None = None,
    ) -> None:
        """Replace the figures.

        Args:
            report: the newest report.
            newest_label: when the newest label was received; None if there is none.
            rollout: the newest promotion; None if there is none.
            rolled_back: the newest one that was rolled back; None if there is none.
        """
        self._report, self._newest_label, self._rollout = report, newest_label, rollout
        self._rolled_back = rolled_back

    def collect(self) -> Iterator[Metric]:
        """The current figures."""
        report = self._report
        yield GaugeMetricFamily(HEARTBEAT, "When the loop last ran", value=self._beat)
        yield CounterMetricFamily(
            "quality_audit_failures", "Times that the audit log could not be written", value=self._audit_failures
        )
        reported_at = self._started if report is None else report.at.timestamp()
        if reported_at is not None:
            yield GaugeMetricFamily(
                "quality_last_report_timestamp_seconds",
                "When the last report was computed; before the first one, when the service started",
                value=reported_at,
            )
        if report is None:
            return
        if self._newest_label is not None:
            yield GaugeMetricFamily(
                "quality_last_label_timestamp_seconds",
                "When the newest label was received",
                value=self._newest_label.timestamp(),
            )
        yield GaugeMetricFamily("quality_log_rows", "Rows in the prediction log", value=report.rows)
        yield GaugeMetricFamily("quality_log_bytes", "Size of the prediction log", value=report.log_bytes)
        yield GaugeMetricFamily(
            "quality_problems", "Problems in the last report, which GET /quality describes", value=len(report.problems)
        )
        labels = GaugeMetricFamily(
            "quality_labels", "Labels of the last 30 days by what became of them", labels=["fate"]
        )
        for fate, count in report.labels.model_dump().items():
            labels.add_metric([fate], count)
        yield labels
        yield from _windows(report)
        yield from _scores(report)
        yield from _estimates(report)
        if self._rollout is not None:
            yield _promotion(self._rollout)
        if self._rolled_back is not None and self._rolled_back.requested and self._rolled_back.ended is not None:
            yield _automatic_rollback(self._rolled_back, self._rolled_back.ended)


def _windows(report: QualityReport) -> Iterator[Metric]:
    of_window = [*_OF_VERSION, "window"]
    predicted = GaugeMetricFamily("quality_predicted_rows", "Logged rows of a window", labels=of_window)
    labelled = GaugeMetricFamily("quality_labelled_rows", "Logged rows of a window with a true label", labels=of_window)
    delay = GaugeMetricFamily(
        "quality_label_delay_seconds", "Median time from a prediction to its label", labels=of_window
    )
    for version in report.versions:
        for window in version.windows:
            names = [version.version, version.role, window.name]
            predicted.add_metric(names, window.predicted)
            labelled.add_metric(names, window.labelled)
            if window.delay_seconds is not None:
                delay.add_metric(names, window.delay_seconds)
    yield from (predicted, labelled, delay)


def _scores(report: QualityReport) -> Iterator[Metric]:
    value = GaugeMetricFamily("quality_score", "Score over the labelled rows of a window", labels=_OF_SCORE)
    low = GaugeMetricFamily("quality_score_low", "Lower limit of the score's 95 % interval", labels=_OF_SCORE)
    high = GaugeMetricFamily("quality_score_high", "Upper limit of the score's 95 % interval", labels=_OF_SCORE)
    for version in report.versions:
        for window in version.windows:
            for metric, score in window.scores.items():
                names = [version.version, version.role, metric, window.name]
                for family, figure in ((value, score.value), (low, score.low), (high, score.high)):
                    if figure is not None:
                        family.add_metric(names, figure)
    yield from (value, low, high)


def _estimates(report: QualityReport) -> Iterator[Metric]:
    of_estimate = ["model_version", "metric", "window"]
    value = GaugeMetricFamily("quality_estimate", "Score of a window, estimated without labels", labels=of_estimate)
    low = GaugeMetricFamily("quality_estimate_low", "Lower limit of the estimate's 95 % interval", labels=of_estimate)
    high = GaugeMetricFamily("quality_estimate_high", "Upper limit of the estimate's 95 % interval", labels=of_estimate)
    for version in report.versions:
        for window in version.estimate.windows if version.estimate is not None else ():
            for metric, score in window.scores.items():
                for family, figure in ((value, score.value), (low, score.low), (high, score.high)):
                    if figure is not None:
                        family.add_metric([version.version, metric, window.name], figure)
    yield from (value, low, high)


def _promotion(rollout: Rollout) -> Metric:
    family = GaugeMetricFamily(
        "quality_promotion_is_worse",
        "Whether labels prove that the version of the newest promotion is worse than the one before",
        labels=_OF_PROMOTION,
    )
    family.add_metric([rollout.version, rollout.previous], rollout.is_worse)
    return family


def _automatic_rollback(rollout: Rollout, at: datetime) -> Metric:
    family = GaugeMetricFamily(
        "quality_automatic_rollback_timestamp_seconds",
        "When the last rollback without a person was, unless a later one was requested by a person",
        labels=_OF_PROMOTION,
    )
    family.add_metric([rollout.version, rollout.previous], at.timestamp())
    return family
