"""The Service dashboard: rate, errors, duration and saturation of inference."""

from dashboards import glance
from dashboards.board import Board, Row
from dashboards.panels import GREEN, RED, YELLOW, Lines, Panel, Query, Stat, States
from dashboards.queries import quantile, rate, series

REQUESTS = "inference_http_requests_total"
DURATION = "inference_http_request_duration_seconds"
PREDICT = 'route="/predict"'
FAILED = 'status=~"5.."'
# `up` of the job probe is the exporter's own state.
TARGETS = f"""{series("up", 'job!="probe"')} or {series("probe_success")}"""


def service_board(limits: dict[str, float], uncounted: str) -> Board:
    """The dashboard.

    Args:
        limits: the limit of each alert, by the alert's name.
        uncounted: a regular expression of routes that do not count as traffic.
    """
    traffic = f'route!~"{uncounted}"'
    requests = f"sum({rate(REQUESTS, traffic)})"
    error_ratio = f"sum({rate(REQUESTS, FAILED, traffic)}) / {requests}"
    return Board(
        name="service",
        title="Service",
        description="Rate, errors, latency and saturation of inference.",
        rows=[
            Row("", _glance(limits, requests, error_ratio)),
            Row("Rate", _rates()),
            Row("Errors", _errors(limits, error_ratio)),
            Row("Duration", _durations(limits)),
            Row("Saturation", [*_pressure(), *_process()]),
        ],
    )


def _glance(limits: dict[str, float], rate_of_requests: str, error_ratio: str) -> list[Panel]:
    ratio = Stat(
        title="Error ratio",
        description="Share of responses with status 5xx, excluding health, metrics and the page. "
        "HighErrorRatio fires at the red step.",
        unit="percentunit",
        decimals=1,
        queries=(Query(error_ratio),),
        steps=((limits["HighErrorRatio"], RED),),
        words={"nan": ("no requests", "text")},
    )
    slowest = Stat(
        title="p99 of /predict",
        description="99 % of predictions are answered within this time. HighLatency fires at the red step.",
        unit="s",
        queries=(Query(quantile(0.99, DURATION, PREDICT)),),
        steps=((limits["HighLatency"], RED),),
        words={"nan": ("no requests", "text")},
    )
    requests = Stat(
        title="Requests",
        description="Requests per second over all routes except health, metrics and the page, which polls.",
        unit="reqps",
        queries=(Query(rate_of_requests),),
        base="blue",
    )
    looked_at_first = [glance.answering(), glance.served(), glance.drifted_features(), glance.last_verdict()]
    return [*looked_at_first, requests, ratio, slowest, glance.firing()]


def _rates() -> list[Panel]:
    return [
        Lines(
            title="Requests by route",
            description="Requests per second, by route template; unused routes are hidden.",
            unit="reqps",
            queries=(Query(f"sum by (route) ({rate(REQUESTS)}) > 0", "{{route}}"),),
        ),
        Lines(
            title="Requests by status",
            description="Requests per second, by HTTP status; unused statuses are hidden.",
            unit="reqps",
            queries=(Query(f"sum by (status) ({rate(REQUESTS)}) > 0", "{{status}}"),),
        ),
        Lines(
            title="Rows predicted",
            description="Predicted rows per second, and the p50 and p99 of rows per batch.",
            unit="short",
            queries=(
                Query(f"sum({rate('inference_predictions_total')})", "rows per second"),
                Query(quantile(0.5, "inference_batch_rows"), "rows per batch, p50"),
                Query(quantile(0.99, "inference_batch_rows"), "rows per batch, p99"),
            ),
        ),
    ]


def _errors(limits: dict[str, float], error_ratio: str) -> list[Panel]:
    return [
        Lines(
            title="Error ratio over time",
            description="Share of responses with status 5xx, excluding metrics, the page and the health routes, which "
            "answer 503 while no model is loaded. HighErrorRatio fires at the line.",
            unit="percentunit",
            queries=(Query(error_ratio, "5xx"),),
            steps=((limits["HighErrorRatio"], RED),),
        ),
        Lines(
            title="Failed predictions",
            description="Records and bodies per second without a prediction, by reason; mostly invalid input.",
            unit="cps",
            queries=(Query(f"sum by (reason) ({rate('inference_prediction_errors_total')})", "{{reason}}"),),
        ),
        States(
            title="Targets",
            description="Whether Prometheus can scrape each target, and the blackbox exporter can reach MLflow and "
            "ZenML (probe). TargetDown fires after 30 seconds, DependencyDown after a minute.",
            unit="none",
            queries=(Query(TARGETS, "{{job}} {{instance}}"),),
            base=RED,
            steps=((1, GREEN),),
            words={"0": ("down", RED), "1": ("up", GREEN)},
        ),
    ]


def _durations(limits: dict[str, float]) -> list[Panel]:
    return [
        Lines(
            title="Latency of /predict",
            description="Time from the complete request to the last byte of the response. HighLatency fires where the "
            "p99 is above the line.",
            unit="s",
            width=12,
            queries=tuple(Query(quantile(share, DURATION, PREDICT), f"p{100 * share:g}") for share in (0.5, 0.9, 0.99)),
            steps=((limits["HighLatency"], RED),),
        ),
        Lines(
            title="p99 by route",
            description="99 % of the route's requests are answered within this time; unused routes are hidden.",
            unit="s",
            width=12,
            queries=(Query(f"{quantile(0.99, DURATION, by='route')} >= 0", "{{route}}"),),
        ),
    ]


def _pressure() -> list[Panel]:
    return [
        Lines(
            title="Requests in flight",
            description="Requests in progress in each replica, at most MAX_CONCURRENCY; further requests wait.",
            unit="none",
            queries=(Query(series("inference_http_requests_in_flight"), "{{instance}}"),),
        ),
        Lines(
            title="Requests shed",
            description="Requests per second rejected with 503 because of overload. Above 0, add replicas.",
            unit="reqps",
            queries=(Query(f"sum by (reason) ({rate('inference_http_requests_shed_total')})", "{{reason}}"),),
            steps=((0.001, YELLOW),),
        ),
        Lines(
            title="Clients cut off",
            description="Connections per second that were closed because the client sends or reads too slowly, "
            "or sends too much.",
            unit="cps",
            queries=(Query(f"sum by (reason) ({rate('inference_http_clients_cut_total')})", "{{reason}}"),),
        ),
    ]


def _process() -> list[Panel]:
    return [
        Lines(
            title="Processor",
            description="Share of one core that each process uses. Near 100 % an inference process is saturated.",
            unit="percentunit",
            queries=(Query(rate("process_cpu_seconds_total"), "{{job}} {{instance}}"),),
        ),
        Lines(
            title="Memory",
            description="Resident memory of each process; the containers' limits are in docker-compose.yml.",
            unit="bytes",
            queries=(Query(series("process_resident_memory_bytes"), "{{job}} {{instance}}"),),
        ),
        Lines(
            title="Open files",
            description="Share of each process's limit of file descriptors that is in use, mostly by connections.",
            unit="percentunit",
            queries=(Query(f"{series('process_open_fds')} / {series('process_max_fds')}", "{{job}} {{instance}}"),),
            most=1,
        ),
    ]
