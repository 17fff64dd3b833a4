"""The Service dashboard: rate, errors, duration and saturation of inference, under what is looked at first."""

from dashboards import glance
from dashboards.board import Board, Row
from dashboards.panels import GREEN, RED, YELLOW, Lines, Panel, Query, Stat, States
from dashboards.queries import quantile, rate, series

REQUESTS = "inference_http_requests_total"
DURATION = "inference_http_request_duration_seconds"
PREDICT = 'route="/predict"'
FAILED = 'status=~"5.."'
# `up` of a probe is the exporter's that asks.
TARGETS = f"""{series("up", 'job!="probe"')} or {series("probe_success")}"""


def service_board(limits: dict[str, float], uncounted: str) -> Board:
    """What is on it.

    Args:
        limits: at which each alert fires, by its name.
        uncounted: the routes that are no traffic, as a regular expression.
    """
    traffic = f'route!~"{uncounted}"'
    requests = f"sum({rate(REQUESTS, traffic)})"
    error_ratio = f"sum({rate(REQUESTS, FAILED, traffic)}) / {requests}"
    return Board(
        name="service",
        title="Service",
        description="Does inference answer, how much, how fast, and how near it is to its limits.",
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
        description="Share of requests answered with a 5xx, without those to health, metrics and the page. "
        "HighErrorRatio fires at the red step.",
        unit="percentunit",
        decimals=1,
        queries=(Query(error_ratio),),
        steps=((limits["HighErrorRatio"], RED),),
        words={"nan": ("no requests", "text")},
    )
    slowest = Stat(
        title="p99 of /predict",
        description="99 in 100 predictions are answered within this time. HighLatency fires at the red step.",
        unit="s",
        queries=(Query(quantile(0.99, DURATION, PREDICT)),),
        steps=((limits["HighLatency"], RED),),
        words={"nan": ("no requests", "text")},
    )
    requests = Stat(
        title="Requests",
        description="Requests a second over all routes but health, metrics and the page, which asks by itself.",
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
            description="Requests a second, by route template; routes that nobody calls are left out.",
            unit="reqps",
            queries=(Query(f"sum by (route) ({rate(REQUESTS)}) > 0", "{{route}}"),),
        ),
        Lines(
            title="Requests by status",
            description="Requests a second, by HTTP status; statuses that nobody got are left out.",
            unit="reqps",
            queries=(Query(f"sum by (status) ({rate(REQUESTS)}) > 0", "{{status}}"),),
        ),
        Lines(
            title="Rows predicted",
            description="Rows answered a second, and how many a batch has: the half of them has at most p50.",
            unit="short",
            queries=(
                Query(f"sum({rate('inference_predictions_total')})", "rows a second"),
                Query(quantile(0.5, "inference_batch_rows"), "rows of a batch, p50"),
                Query(quantile(0.99, "inference_batch_rows"), "rows of a batch, p99"),
            ),
        ),
    ]


def _errors(limits: dict[str, float], error_ratio: str) -> list[Panel]:
    return [
        Lines(
            title="Error ratio over time",
            description="Share of requests answered with a 5xx, without the health routes, which say 503 by "
            "design while no model is loaded, metrics and the page. The line is where HighErrorRatio fires.",
            unit="percentunit",
            queries=(Query(error_ratio, "5xx"),),
            steps=((limits["HighErrorRatio"], RED),),
        ),
        Lines(
            title="Failed predictions",
            description="Records and bodies a second that got no prediction, by reason: mostly what clients "
            "send wrong.",
            unit="cps",
            queries=(Query(f"sum by (reason) ({rate('inference_prediction_errors_total')})", "{{reason}}"),),
        ),
        States(
            title="Targets",
            description="Whether each target answers Prometheus, and MLflow and ZenML (probe) the blackbox exporter. "
            "TargetDown fires after half a minute, DependencyDown after one.",
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
            description="Time from a whole request to its answer's last byte. The line is where HighLatency "
            "fires for the p99.",
            unit="s",
            width=12,
            queries=tuple(Query(quantile(share, DURATION, PREDICT), f"p{100 * share:g}") for share in (0.5, 0.9, 0.99)),
            steps=((limits["HighLatency"], RED),),
        ),
        Lines(
            title="p99 by route",
            description="99 in 100 requests of the route are answered within this time; routes without requests"
            " are left out.",
            unit="s",
            width=12,
            queries=(Query(f"{quantile(0.99, DURATION, by='route')} >= 0", "{{route}}"),),
        ),
    ]


def _pressure() -> list[Panel]:
    return [
        Lines(
            title="Requests in flight",
            description="Requests that each replica is answering. MAX_CONCURRENCY is the most; what is beyond waits.",
            unit="none",
            queries=(Query(series("inference_http_requests_in_flight"), "{{instance}}"),),
        ),
        Lines(
            title="Requests shed",
            description="Requests a second turned away with 503 as too many. Anything above 0 asks for more replicas.",
            unit="reqps",
            queries=(Query(f"sum by (reason) ({rate('inference_http_requests_shed_total')})", "{{reason}}"),),
            steps=((0.001, YELLOW),),
        ),
        Lines(
            title="Clients cut off",
            description="Connections a second that were closed because their client sends or reads too slowly, "
            "or too much.",
            unit="cps",
            queries=(Query(f"sum by (reason) ({rate('inference_http_clients_cut_total')})", "{{reason}}"),),
        ),
    ]


def _process() -> list[Panel]:
    return [
        Lines(
            title="Processor",
            description="Share of one core that each process takes. Near 100 % an inference process answers no faster.",
            unit="percentunit",
            queries=(Query(rate("process_cpu_seconds_total"), "{{job}} {{instance}}"),),
        ),
        Lines(
            title="Memory",
            description="Resident memory of each process; the containers' limits stand in docker-compose.yml.",
            unit="bytes",
            queries=(Query(series("process_resident_memory_bytes"), "{{job}} {{instance}}"),),
        ),
        Lines(
            title="Open files",
            description="Share of the file descriptors that each process may have open: connections, mostly.",
            unit="percentunit",
            queries=(Query(f"{series('process_open_fds')} / {series('process_max_fds')}", "{{job}} {{instance}}"),),
            most=1,
        ),
    ]
