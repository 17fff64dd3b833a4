"""Every query of the dashboards, asked of a real Prometheus that has scraped the real services."""

import math
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.support import grafana
from tests.support.watched_loop import WatchedLoop, watched_loop

pytestmark = pytest.mark.integration

# As often as Prometheus scrapes here, in seconds. A rate is reckoned over more than Grafana would: the machine is busy.
STEP = 0.2
RATE_INTERVAL = "4s"
ANNOTATIONS = [pytest.param(name, item, id=f"{name}: {item['name']}") for name, item in grafana.annotations()]
Chosen = Callable[[WatchedLoop], dict[str, str]]

# Every query has data, and more than zeros. Of these, zeros may be all:
MAY_BE_ZERO = {
    "service: Error ratio (A)": "the errors are over by the end",
    "service: Requests shed (A)": "there are no more requests than are answered in time",
    "service: Clients cut off (A)": "no client is slow",
    "model: Problems (A)": "no label is wrong",
    "model: Last promotion (A)": "no promotion is proved worse",
    "model: Rows logged (B)": "no column is hidden",
    "model: Rows of the shadow and of a canary (B)": "there is no canary",
    "model: Errors and latency of a watch (A)": "no row fails, and the time that is compared is short",
    "retraining: Audit log failures (A)": "every entry can be written",
    "retraining: Audit log failures (B)": "as above",
    "retraining: Audit log failures (C)": "as above",
    "retraining: Monitor (A)": "the monitor is idle by the end",
    "retraining: Requests on their way (A)": "every request has its verdict by the end",
}
# These have none here; that their metrics exist is tested where they are made.
MAY_BE_EMPTY = {
    "model: Automatic rollback (A)": "no version is rolled back",
    "model: Awaits approval (A)": "no version waits",
    "model: Estimate without labels (A)": "Iris has fewer than 500 holdout rows",
    "model: Estimate without labels (B)": "as above",
    "model: Estimate without labels (C)": "as above",
}


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory, mlflow_url: str) -> Iterator[WatchedLoop]:
    with watched_loop(tmp_path_factory.mktemp("watched"), mlflow_url, f"iris-{uuid.uuid4().hex[:8]}") as loop:
        yield loop


def offered(loop: WatchedLoop, variable: Mapping[str, Any], chosen: Mapping[str, str]) -> list[str]:
    """The values of a variable in its menu."""
    query = grafana.LABEL_VALUES.fullmatch(variable["query"]["query"])
    assert query is not None
    selector = grafana.fill_in(query["series"], chosen)
    values: list[str] = loop.prometheus.ask(f"label/{query['label']}/values", **{"match[]": selector})
    return values


def all_chosen(_: WatchedLoop) -> dict[str, str]:
    return {name: variable["allValue"] for name, variable in grafana.variables("service").items()}


def each_chosen(loop: WatchedLoop) -> dict[str, str]:
    chosen: dict[str, str] = {}
    for name, variable in grafana.variables("service").items():
        chosen[name] = grafana.regular_expression(offered(loop, variable, chosen))
    return chosen


def result(loop: WatchedLoop, expr: str, chosen: Chosen, *, instant: bool) -> list[dict[str, Any]]:
    """The series of a query at the end, or from the start to the end."""
    times = {
        "__interval": f"{1000 * STEP:g}ms",
        "__rate_interval": RATE_INTERVAL,
        "__range": f"{math.ceil(loop.end - loop.start)}s",
    }
    query = grafana.fill_in(expr, {**times, **chosen(loop)})
    if instant:
        found = loop.prometheus.ask("query", query=query, time=loop.end)["result"]
        return [{**row, "values": [row["value"]]} for row in found]
    # A step more: the last one within the loop may come before the last scrape.
    rows: list[dict[str, Any]] = loop.prometheus.ask(
        "query_range", query=query, start=loop.start, end=loop.end + STEP, step=STEP
    )["result"]
    return rows


def numbers(rows: list[dict[str, Any]]) -> list[float]:
    found = [float(value) for row in rows for _, value in row["values"]]
    return [value for value in found if not math.isnan(value)]


@pytest.mark.parametrize("chosen", [all_chosen, each_chosen])
@pytest.mark.parametrize("target", grafana.targets(), ids=str)
def test_panel_has_data(loop: WatchedLoop, target: grafana.Target, chosen: Chosen) -> None:
    rows = result(loop, target.expr, chosen, instant=target.instant)
    found = numbers(rows)
    assert bool(found) is (str(target) not in MAY_BE_EMPTY)
    assert any(found) or str(target) in MAY_BE_ZERO | MAY_BE_EMPTY
    shown = grafana.labels_in(target.legend)
    assert all(shown <= set(row["metric"]) for row in rows)
    names = [tuple(row["metric"][label] for label in sorted(shown)) for row in rows]
    assert len(set(names)) == len(names), "two series of one name"


def test_every_query_that_may_be_zero_or_empty_is_on_a_dashboard() -> None:
    assert set(MAY_BE_ZERO | MAY_BE_EMPTY) <= {str(target) for target in grafana.targets()}


@pytest.mark.parametrize("name", grafana.NAMES)
def test_variables_offer_every_job_and_the_instances_of_the_chosen_ones(loop: WatchedLoop, name: str) -> None:
    job, instance = grafana.variables(name).values()
    assert offered(loop, job, {}) == ["inference", "monitor", "prometheus", "quality"]
    assert len(offered(loop, instance, {"job": job["allValue"]})) == 4
    assert len(offered(loop, instance, {"job": grafana.regular_expression(["monitor"])})) == 1


@pytest.mark.parametrize(("name", "annotation"), ANNOTATIONS)
def test_annotation_marks_what_has_happened(loop: WatchedLoop, name: str, annotation: dict[str, Any]) -> None:
    rows = result(loop, annotation["target"]["expr"], all_chosen, instant=False)
    # Grafana marks where the value is above 0, or the times that are the values.
    assert any(value > 0 for value in numbers(rows)), name
    assert all(grafana.labels_in(annotation["titleFormat"]) <= set(row["metric"]) for row in rows)
    marked = {row["metric"].get("version") or row["metric"].get("outcome") for row in rows if any(numbers([row]))}
    assert marked == {"Swaps": {"1", "2"}, "Verdicts": {"promoted", "failed"}, "Trainings": {None}}[annotation["name"]]


@pytest.mark.parametrize("name", grafana.NAMES)
def test_swaps_are_marked_when_they_happened(loop: WatchedLoop, name: str) -> None:
    (swaps,) = [item for board, item in grafana.annotations() if (board, item["name"]) == (name, "Swaps")]
    assert swaps["useValueForTime"]
    times = set(numbers(result(loop, swaps["target"]["expr"], all_chosen, instant=False)))
    assert len(times) == 2
    assert all(1000 * loop.start < time < 1000 * loop.end for time in times)
