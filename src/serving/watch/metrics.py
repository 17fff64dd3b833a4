"""The inference service's Prometheus metrics, on a separate registry."""

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from src.serving.models.admission import SHED_REASONS
from src.serving.models.predictor import Predictor
from src.serving.models.store_metrics import RELOAD_OUTCOMES
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


@dataclass(frozen=True)
class RouteInfo:
    """A route's labels, known before its first request."""

    path: str
    method: str
    statuses: tuple[int, ...]


class ServingMetrics:
    """Every series exists at 0 from the start, and every child is bound once.

    Args:
        registry: where the metrics are registered.
        routes: the service's routes with the statuses they answer.
        window_rows: how many of the newest rows are compared with those of training.
        alert_outcomes: how a notification of Alertmanager can be handled.

    Attributes:
        traffic: records predictions.
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
        self._create_http(registry, routes)
        self._create_model(registry, alert_outcomes)

    def _create_http(self, registry: CollectorRegistry, routes: Iterable[RouteInfo]) -> None:
        self._requests = Counter(
            "inference_http_requests_total",
            "HTTP requests by route template, method and status",
            ["route", "method", "status"],
            registry=registry,
        )
        self._duration = Histogram(
            "inference_http_request_duration_seconds",
            "Seconds from the arrival of a complete request to the last byte of its response; without requests that "
            "are turned away",
            ["route"],
            buckets=DURATION_EDGES,
            registry=registry,
        )
        self.in_flight = Gauge(
            "inference_http_requests_in_flight", "Requests that are being received or answered", registry=registry
        )
        shed = Counter(
            "inference_http_requests_shed_total", "Requests turned away under overload", ["reason"], registry=registry
        )
        self._shed = {reason: shed.labels(reason) for reason in SHED_REASONS}
        cut = Counter(
            "inference_http_clients_cut_total", "Clients that were disconnected", ["reason"], registry=registry
        )
        self._cut = {reason: cut.labels(reason) for reason in CUT_REASONS}
        known = [*routes, *(RouteInfo(UNMATCHED, method, UNMATCHED_STATUSES) for method in ("GET", "POST"))]
        self._request_children = {
            (route.path, route.method, status): self._requests.labels(route.path, route.method, str(status))
            for route in known
            for status in route.statuses
        }
        self._duration_children = {route.path: self._duration.labels(route.path) for route in known}

    def _create_model(self, registry: CollectorRegistry, alert_outcomes: Iterable[str]) -> None:
        self._info = Gauge(
            "inference_model_info", "1 for the model served", ["name", "version", "engine"], registry=registry
        )
        self._loaded = Gauge("inference_model_loaded", "1 if a model can answer", registry=registry)
        self._scores = Gauge(
            "inference_model_score",
            "Scores of the served model on the holdout by scikit-learn's metric names, greater is better",
            ["metric"],
            registry=registry,
        )
        self._trained_at = Gauge(
            "inference_model_trained_timestamp_seconds",
            "When the served model was registered by training; 0 where that is unknown",
            registry=registry,
        )
        self._loaded_at = Gauge(
            "inference_model_loaded_timestamp_seconds", "When the served model was loaded", registry=registry
        )
        reloads = Counter(
            "inference_model_reloads_total", "Attempts to serve another version", ["outcome"], registry=registry
        )
        self._reloads = {name: reloads.labels(name) for name in RELOAD_OUTCOMES}
        self._mlflow = Gauge(
            "inference_mlflow_reachable", "1 if the last look-up of the champion succeeded", registry=registry
        )
        self._serves_champion = Gauge(
            "inference_serves_champion",
            "1 if the last look-up found that the served model is the champion; 0 also if it failed",
            registry=registry,
        )
        alerts = Counter(
            "inference_alerts_total",
            "Alertmanager's notifications by outcome",
            ["outcome"],
            registry=registry,
        )
        self._alerts = {outcome: alerts.labels(outcome) for outcome in alert_outcomes}
        errors = Counter("inference_prediction_errors_total", "Failed predictions", ["reason"], registry=registry)
        reasons = (
            *RECORD_PROBLEMS,
            TOO_LARGE,
            UNSUPPORTED_MEDIA_TYPE,
            NOT_ACCEPTABLE,
            UNKNOWN_MODEL,
            NO_MODEL,
            INTERNAL,
        )
        self._batch_rows = Histogram(
            "inference_batch_rows", "Rows per answered batch", buckets=BATCH_EDGES, registry=registry
        )
        self._prediction_errors = {reason: errors.labels(reason) for reason in reasons}

    def observe_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request with its duration."""
        self.count_request(route, method, status)
        self._duration_for(route).observe(seconds)

    def count_request(self, route: str, method: str, status: int) -> None:
        """Count one request. ``route`` is a template or ``UNMATCHED``, never a raw path."""
        key = (route, method if method in METHODS else OTHER, status)
        child = self._request_children.get(key)
        if child is None:
            child = self._request_children[key] = self._requests.labels(route, key[1], str(status))
        child.inc()

    def shed(self, reason: str) -> None:
        """Count one request that was turned away, for one of ``SHED_REASONS``."""
        self._shed[reason].inc()

    def cut(self, reason: str) -> None:
        """Count one client that was disconnected for one of ``CUT_REASONS``."""
        self._cut[reason].inc()

    def _duration_for(self, route: str) -> Histogram:
        child = self._duration_children.get(route)
        if child is None:
            child = self._duration_children[route] = self._duration.labels(route)
        return child

    def alert(self, outcome: str) -> None:
        """Count one notification of Alertmanager."""
        self._alerts[outcome].inc()

    def batch(self, rows: int) -> None:
        """Record the number of rows of an answered batch."""
        self._batch_rows.observe(rows)

    def prediction_error(self, reason: str) -> None:
        """Count one failed prediction."""
        self._prediction_errors[reason].inc()

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
        trained_at = predictor.version.registered_at
        self._scores.clear()
        for name, score in predictor.version.scores.items():
            self._scores.labels(name).set(score)
        self._trained_at.set(trained_at.timestamp() if trained_at is not None else 0)
        self._loaded.set(1)
