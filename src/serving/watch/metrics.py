"""The inference service's Prometheus metrics, on a separate registry."""

import functools
from collections.abc import Callable, Iterable
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from src.serving.models.admission import SHED_REASONS
from src.serving.models.model_store import RELOAD_OUTCOMES, ModelStore
from src.serving.tables.problems import RECORD_PROBLEMS, TOO_LARGE
from src.serving.watch.live_traffic import LiveTraffic
from src.serving.watch.prediction_log import PredictionLog

UNMATCHED = "unmatched"
# Statuses of a path without a route: from a guard, from the router, or under overload.
UNMATCHED_STATUSES = (400, 404, 503)
OTHER = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
DURATION_EDGES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
BATCH_EDGES = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
# Reasons for disconnecting a client.
SLOW_HEAD = "slow_head"
LARGE_HEAD = "large_head"
SLOW_BODY = "slow_body"
SLOW_READER = "slow_reader"
PIPELINED = "pipelined"
CUT_REASONS = (SLOW_HEAD, LARGE_HEAD, SLOW_BODY, SLOW_READER, PIPELINED)
# Reasons of a failed prediction, in addition to a record's problems.
UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
NOT_ACCEPTABLE = "not_acceptable"
UNKNOWN_MODEL = "unknown_model"
NO_MODEL = "no_model"
INTERNAL = "internal"
OTHER_ERRORS = (TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, NOT_ACCEPTABLE, UNKNOWN_MODEL, NO_MODEL, INTERNAL)
ACCEPTED, REFUSED = FEEDBACK_RESULTS = ("accepted", "refused")
PREDICTION_ERRORS = (*RECORD_PROBLEMS, *OTHER_ERRORS)


class RouteInfo(NamedTuple):
    """A route's labels, known before its first request."""

    path: str
    method: str
    statuses: tuple[int, ...]


class ServingMetrics:
    """Every series exists at 0 from the start. Most attributes are functions that set or count one of them.

    ``window_rows`` is how many of the newest rows ``traffic`` compares with those of training, and ``alert_outcomes``
    are the ways in which a notification of Alertmanager can be handled. ``log`` is where the predicted rows are kept.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        routes: Iterable[RouteInfo],
        window_rows: int,
        alert_outcomes: Iterable[str] = (),
        log: PredictionLog | None = None,
    ) -> None:
        self.registry = registry
        self.traffic = LiveTraffic(registry, window_rows, log)
        self.model_loaded = self.traffic.follow  # before the model's first prediction
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        gauge = functools.partial(Gauge, registry=registry)
        self.in_flight = gauge("inference_http_requests_in_flight", "Requests that are being received or answered")
        self._mlflow_reachable = gauge("inference_mlflow_reachable", "1 if the last poll of MLflow succeeded")
        self._serves_champion = gauge("inference_serves_champion", "1 if the served model is known to be champion")
        reasons = functools.partial(_counting, registry, "reason")
        self.shed = reasons("inference_http_requests_shed_total", "Requests turned away under overload", SHED_REASONS)
        self.cut = reasons("inference_http_clients_cut_total", "Clients that were disconnected", CUT_REASONS)
        self.prediction_failed = reasons("inference_prediction_errors_total", "Failed predictions", PREDICTION_ERRORS)
        outcomes = functools.partial(_counting, registry, "outcome")
        self.reload = outcomes("inference_model_reloads_total", "Attempts to serve another version", RELOAD_OUTCOMES)
        self.alert = outcomes("inference_alerts_total", "Notifications of Alertmanager", alert_outcomes)
        histogram = functools.partial(Histogram, registry=registry)
        self.batch_rows = histogram("inference_batch_rows", "Rows per answered batch", buckets=BATCH_EDGES)
        duration = histogram(
            "inference_http_request_duration_seconds",
            "Seconds from the arrival of a complete request to the last byte of its response; without requests that "
            "are turned away",
            ["route"],
            buckets=DURATION_EDGES,
        )
        feedback = Counter(
            "inference_feedback_labels_total", "True labels that clients sent", ["result"], registry=registry
        )
        self.feedback = {result: feedback.labels(result).inc for result in FEEDBACK_RESULTS}
        audit = Counter(
            "inference_audit_failures_total", "Times that the audit log could not be written", registry=registry
        )
        self.audit_failed = audit.inc
        labels = ["route", "method", "status"]
        requests = Counter("inference_http_requests_total", "Requests by route template", labels, registry=registry)
        # Cached, because looking for labels takes longer than counting.
        self._requests = functools.cache(requests.labels)
        self._durations = functools.cache(duration.labels)
        for route in (*routes, *(RouteInfo(UNMATCHED, method, UNMATCHED_STATUSES) for method in ("GET", "POST"))):
            self._durations(route.path)
            for status in route.statuses:
                self._requests(route.path, route.method, status)

    def watch(self, store: ModelStore) -> None:
        """Read the store's state at each scrape."""
        self._mlflow_reachable.set_function(lambda: bool(store.mlflow_reachable))
        self._serves_champion.set_function(lambda: store.serves_champion)

    def observe_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request with its duration."""
        self.count_request(route, method, status)
        self._durations(route).observe(seconds)

    def count_request(self, route: str, method: str, status: int) -> None:
        """Count one request. ``route`` is a template or ``UNMATCHED``, never a raw path."""
        self._requests(route, method if method in METHODS else OTHER, status).inc()


def _counting(
    registry: CollectorRegistry, label: str, name: str, documentation: str, values: Iterable[str]
) -> Callable[[str], None]:
    """A function that counts one of the label's values."""
    counter = Counter(name, documentation, [label], registry=registry)
    counters = {value: counter.labels(value) for value in values}
    return lambda value: counters[value].inc()
