"""The inference service's Prometheus metrics, on a separate registry."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from src.serving.models.admission import SHED_REASONS
from src.serving.models.model_store import RELOAD_OUTCOMES
from src.serving.models.predictor import Predictor
from src.serving.tables.problems import RECORD_PROBLEMS, TOO_LARGE
from src.serving.watch.live_traffic import LiveTraffic

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
PREDICTION_ERRORS = (
    *(*RECORD_PROBLEMS, TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, NOT_ACCEPTABLE, UNKNOWN_MODEL, NO_MODEL, INTERNAL),
)


@dataclass(frozen=True)
class RouteInfo:
    """A route's labels, known before its first request."""

    path: str
    method: str
    statuses: tuple[int, ...]


class ServingMetrics:
    """Every series exists at 0 from the start.

    Args:
        registry: where the metrics are registered.
        routes: the service's routes with the statuses they answer.
        window_rows: how many of the newest rows ``traffic`` compares with those of training.
        alert_outcomes: how a notification of Alertmanager can be handled.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        routes: Iterable[RouteInfo],
        window_rows: int,
        alert_outcomes: Iterable[str] = (),
    ) -> None:
        self.registry = registry
        self.traffic = LiveTraffic(registry, window_rows)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._create_http(routes)
        self._create_model(alert_outcomes)

    def _create_http(self, routes: Iterable[RouteInfo]) -> None:
        requests = Counter(
            "inference_http_requests_total",
            "HTTP requests by route template, method and status",
            ["route", "method", "status"],
            registry=self.registry,
        )
        duration = Histogram(
            "inference_http_request_duration_seconds",
            "Seconds from the arrival of a complete request to the last byte of its response; without requests that "
            "are turned away",
            ["route"],
            buckets=DURATION_EDGES,
            registry=self.registry,
        )
        # Cached, because looking for labels takes longer than counting.
        self._requests = functools.cache(requests.labels)
        self._durations = functools.cache(duration.labels)
        for route in (*routes, *(RouteInfo(UNMATCHED, method, UNMATCHED_STATUSES) for method in ("GET", "POST"))):
            self._durations(route.path)
            for status in route.statuses:
                self._requests(route.path, route.method, status)
        self.in_flight = Gauge(
            "inference_http_requests_in_flight", "Requests that are being received or answered", registry=self.registry
        )
        reasons = functools.partial(_counters, self.registry, "reason")
        self._shed = reasons("inference_http_requests_shed_total", "Requests turned away under overload", SHED_REASONS)
        self._cut = reasons("inference_http_clients_cut_total", "Clients that were disconnected", CUT_REASONS)
        self.prediction_errors = reasons("inference_prediction_errors_total", "Failed predictions", PREDICTION_ERRORS)

    def _create_model(self, alert_outcomes: Iterable[str]) -> None:
        gauge = functools.partial(Gauge, registry=self.registry)
        self._info = gauge("inference_model_info", "1 for the model served", ["name", "version", "engine"])
        self._loaded = gauge("inference_model_loaded", "1 if a model can answer")
        self._scores = gauge(
            "inference_model_score",
            "Scores of the served model on the holdout by scikit-learn's metric names, greater is better",
            ["metric"],
        )
        self._trained_at = gauge(
            "inference_model_trained_timestamp_seconds",
            "When the served model was registered by training; 0 where that is unknown",
        )
        self._loaded_at = gauge("inference_model_loaded_timestamp_seconds", "When the served model was loaded")
        self._mlflow = gauge("inference_mlflow_reachable", "1 if the last look-up of the champion succeeded")
        self._serves_champion = gauge(
            "inference_serves_champion",
            "1 if the last look-up found that the served model is the champion; 0 also if it failed",
        )
        outcomes = functools.partial(_counters, self.registry, "outcome")
        self._reloads = outcomes("inference_model_reloads_total", "Attempts to serve another version", RELOAD_OUTCOMES)
        self.alerts = outcomes("inference_alerts_total", "Alertmanager's notifications by outcome", alert_outcomes)
        self.batch_rows = Histogram(
            "inference_batch_rows", "Rows per answered batch", buckets=BATCH_EDGES, registry=self.registry
        )

    def observe_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request with its duration."""
        self.count_request(route, method, status)
        self._durations(route).observe(seconds)

    def count_request(self, route: str, method: str, status: int) -> None:
        """Count one request. ``route`` is a template or ``UNMATCHED``, never a raw path."""
        self._requests(route, method if method in METHODS else OTHER, status).inc()

    def shed(self, reason: str) -> None:
        """Count one request that was turned away, for one of ``SHED_REASONS``."""
        self._shed[reason].inc()

    def cut(self, reason: str) -> None:
        """Count one client that was disconnected for one of ``CUT_REASONS``."""
        self._cut[reason].inc()

    def reload(self, outcome: str) -> None:
        """Count one attempt to serve another version."""
        self._reloads[outcome].inc()

    def mlflow_reachable(self, *, reachable: bool) -> None:
        """Record whether the last look-up succeeded."""
        self._mlflow.set(reachable)

    def serves_champion(self, *, served: bool) -> None:
        """Record whether the last look-up found that the served model is the champion."""
        self._serves_champion.set(served)

    def model_loaded(self, predictor: Predictor) -> None:
        """Record the served model; call it before that model's first prediction."""
        self.traffic.follow(predictor)
        self._info.clear()
        self._info.labels(predictor.version.name, predictor.version.version, predictor.engine.name).set(1)
        self._loaded_at.set(predictor.loaded_at.timestamp())
        self._scores.clear()
        for name, score in predictor.version.scores.items():
            self._scores.labels(name).set(score)
        trained_at = predictor.version.registered_at
        self._trained_at.set(trained_at.timestamp() if trained_at is not None else 0)
        self._loaded.set(1)


def _counters(
    registry: CollectorRegistry, label: str, name: str, documentation: str, values: Iterable[str]
) -> dict[str, Counter]:
    """One counter for each value of the label."""
    counter = Counter(name, documentation, [label], registry=registry)
    return {value: counter.labels(value) for value in values}
