"""The committed dashboards: current, well formed, and by the house's rules for queries."""

import json
import re
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.alert_limits import read_limits, read_uncounted_routes
from dashboards.write_dashboards import FOLDER, RULES, render
from src.services.local.processes import REPOSITORY
from src.serving.watch.drift import LARGE
from tests.support import grafana

COMPOSE = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
PANELS = [
    pytest.param(name, panel, id=f"{name}: {panel['title']}")
    for name in grafana.NAMES
    for panel in grafana.panels(name)
]
EXPRESSIONS = [pytest.param(expr, id=what) for what, expr in grafana.expressions()]
QUERIES = [pytest.param(target.expr, id=str(target)) for target in grafana.targets()]
UNITS = {"none", "short", "s", "bytes", "percentunit", "reqps", "cps", "dateTimeFromNow"}


def thresholds(panel: dict[str, Any]) -> list[float | None]:
    """From where each colour of a panel holds; the first one's is None."""
    return [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]


# -- current -----------------------------------------------------------------------------------------


def test_committed_dashboards_are_what_the_generator_writes() -> None:
    assert {file.name: file.read_text(encoding="utf-8") for file in FOLDER.iterdir()} == render(), (
        "run `make dashboards`"
    )


def test_lines_lie_where_the_alerts_fire() -> None:
    limits = read_limits(RULES)
    for alert, name, title in (
        ("HighErrorRatio", "service", "Error ratio over time"),
        ("HighLatency", "service", "Latency of /predict"),
        ("OutOfRange", "model", "Out of range or unknown"),
        ("StaleModel", "model", "Trained"),
        ("MonitorStalled", "retraining", "Heartbeat over time"),
    ):
        (panel,) = [panel for panel in grafana.panels(name) if panel["title"] == title]
        assert thresholds(panel)[-1] == limits[alert], alert


def test_another_limit_of_an_alert_moves_its_lines_and_no_other(tmp_path: Path) -> None:
    rules = tmp_path / "alerts.yml"
    text, times = re.subn(
        r"(inference_predictions_total\[5m\]\)\) >) 0\.05", r"\1 0.4", RULES.read_text(encoding="utf-8")
    )
    assert times == 1
    rules.write_text(text, encoding="utf-8")
    before, after = (
        {panel["title"]: panel for panel in json.loads(boards["model.json"])["panels"]}
        for boards in (render(), render(rules))
    )
    moved = {title for title in before if before[title] != after[title]}
    assert moved == {"Out of range or unknown"}
    assert thresholds(after["Out of range or unknown"])[-1] == 0.4


def test_limit_of_an_alert_is_the_number_that_its_expression_compares_with_first(tmp_path: Path) -> None:
    rules = tmp_path / "alerts.yml"
    expressions = {"A": 'rate(x{y!="z"}[5m]) > 0.05 and z > 7', "B": "x != 0 > 30 * 86400", "C": "x == 0", "D": "x > y"}
    told = [{"alert": name, "expr": expr} for name, expr in expressions.items()]
    rules.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": told}]}))
    assert read_limits(rules) == {"A": 0.05, "B": 30 * 86400}


@pytest.mark.parametrize("title", ["Drift now", "Drift by feature", "Prediction drift over time"])
def test_drift_is_yellow_where_it_is_large(title: str) -> None:
    (panel,) = [panel for panel in grafana.panels("model") if panel["title"] == title]
    assert thresholds(panel) == [None, LARGE]
    assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["color"] == "yellow"


@pytest.mark.parametrize("title", ["Prediction drift", "Drifted over time"])
def test_a_drifted_column_is_red(title: str) -> None:
    (panel,) = [panel for panel in grafana.panels("model") if panel["title"] == title]
    shown = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    assert {value: (text["text"], text["color"]) for value, text in shown.items()} == {
        "0": ("no drift", "green"),
        "1": ("drifted", "red"),
    }


def test_drifted_features_are_counted_once_however_many_replicas_see_them() -> None:
    for board in ("service", "model"):
        (panel,) = [panel for panel in grafana.panels(board) if panel["title"] == "Drifted features"]
        assert panel["targets"][0]["expr"].startswith("sum(max by (feature) (inference_feature_drifted{")
        assert thresholds(panel) == [None, 1]


# -- well formed -------------------------------------------------------------------------------------


def test_dashboards_have_uids_and_titles_of_their_own() -> None:
    for key in ("uid", "title"):
        assert len({grafana.board(name)[key] for name in grafana.NAMES}) == len(grafana.NAMES)
    assert [file.stem for file in sorted(FOLDER.iterdir())] == sorted(grafana.NAMES)


@pytest.mark.parametrize("name", grafana.NAMES)
def test_panels_have_ids_and_titles_of_their_own(name: str) -> None:
    panels = grafana.board(name)["panels"]
    for key in ("id", "title"):
        assert len({panel[key] for panel in panels}) == len(panels)


@pytest.mark.parametrize("name", grafana.NAMES)
def test_panels_lie_inside_the_grid_and_none_on_another(name: str) -> None:
    places = [panel["gridPos"] for panel in grafana.board(name)["panels"]]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 and place["h"] > 0 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)


@pytest.mark.parametrize("name", grafana.NAMES)
def test_dashboard_begins_with_one_row_of_figures(name: str) -> None:
    first = [panel for panel in grafana.panels(name) if panel["gridPos"]["y"] == 0]
    assert {panel["type"] for panel in first} == {"stat"}
    assert sum(panel["gridPos"]["w"] for panel in first) == 24


def test_first_row_of_the_service_answers_what_is_asked_first() -> None:
    titles = [panel["title"] for panel in grafana.panels("service")[:4]]
    assert titles == ["Replicas that answer", "Served model", "Drifted features", "Last training"]


@pytest.mark.parametrize(("name", "panel"), PANELS)
def test_panel_says_what_it_shows(name: str, panel: dict[str, Any]) -> None:
    assert panel["title"], name
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["targets"]
    base, *steps = thresholds(panel)
    assert base is None
    assert all(low < high for low, high in pairwise(steps))


@pytest.mark.parametrize("name", grafana.NAMES)
def test_every_data_source_is_provisioned(name: str) -> None:
    known = {(source["type"], source["uid"]) for source in grafana.datasources()}
    assert known == {("prometheus", "prometheus"), ("alertmanager", "alertmanager")}
    board = grafana.board(name)
    users = [*board["annotations"]["list"], *board["templating"]["list"], *grafana.panels(name)]
    users += [target for panel in grafana.panels(name) for target in panel["targets"]]
    assert {(user["datasource"]["type"], user["datasource"]["uid"]) for user in users} <= known


@pytest.mark.parametrize("name", grafana.NAMES)
def test_dashboards_link_to_each_other_and_keep_what_is_chosen(name: str) -> None:
    board = grafana.board(name)
    (link,) = board["links"]
    assert (link["type"], link["includeVars"], link["keepTime"]) == ("dashboards", True, True)
    assert set(link["tags"]) <= set(board["tags"])


@pytest.mark.parametrize("name", grafana.NAMES)
def test_every_dashboard_marks_swaps_and_trainings(name: str) -> None:
    marks = [annotation["name"] for board, annotation in grafana.annotations() if board == name]
    assert marks == ["Swaps", "Trainings", "Verdicts"]


def test_documentation_lists_every_panel_under_its_row() -> None:
    text = (REPOSITORY / "docs/dashboards.md").read_text(encoding="utf-8")
    for name in grafana.NAMES:
        rows = {"First row": list[str]()}
        for panel in grafana.board(name)["panels"]:
            if panel["type"] == "row":
                rows[panel["title"]] = []
            else:
                rows[list(rows)[-1]].append(panel["title"])
        listed = "".join(f"- {row}: {', '.join(titles)}\n" for row, titles in rows.items())
        assert f"\n{listed}\n" in text.partition(f"## {grafana.board(name)['title']}\n")[2]


# -- rules for queries -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expr",
    [*QUERIES, *[pytest.param(item["target"]["expr"], id=f"{n}: {item['name']}") for n, item in grafana.annotations()]],
)
def test_query_asks_for_the_chosen_jobs_and_instances(expr: str) -> None:
    selectors = re.findall(r"\w+\{[^}]*\}", expr)
    assert selectors
    # Alerts carry no job where their rule sums over all of them.
    mine = [selector for selector in selectors if not selector.startswith("ALERTS{")]
    assert all('job=~"$job", instance=~"$instance"' in selector for selector in mine)


@pytest.mark.parametrize("name", grafana.NAMES)
def test_job_and_instance_can_be_chosen(name: str) -> None:
    variables = grafana.variables(name)
    assert list(variables) == ["job", "instance"]
    assert all(item["multi"] and item["includeAll"] and item["refresh"] == 2 for item in variables.values())


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_rates_are_over_grafanas_interval(expr: str) -> None:
    windows = re.findall(r"\b(rate|increase)\((?:[^()\[]|\([^()]*\))*\[([^\]]*)\]", expr)
    assert len(windows) == len(re.findall(r"\b(?:rate|increase)\(", expr))
    for function, window in windows:
        # A figure of the whole time that is shown is a count, and no rate.
        assert window == "$__rate_interval" or (function, window) == ("increase", "$__range")


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_counters_are_only_seen_through_a_rate(expr: str) -> None:
    counters = re.findall(r"\b\w+_(?:total|bucket|count|sum)\{", expr)
    assert len(counters) == len(re.findall(r"\b(?:rate|increase)\(\w+_(?:total|bucket|count|sum)\{", expr))


def test_routes_that_are_no_errors_are_those_of_the_alert() -> None:
    (rule,) = [
        rule
        for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
        if rule["alert"] == "HighErrorRatio"
    ]
    found = re.findall(r'route!~"([^"]*)"', rule["expr"])
    assert len(found) == 3
    assert len(set(found)) == 1
    panels = {panel["title"]: panel["targets"][0]["expr"] for panel in grafana.panels("service")}
    for title, times in (("Requests", 1), ("Error ratio", 2), ("Error ratio over time", 2)):
        assert re.findall(r'route!~"([^"]*)"', panels[title]) == found[:times], title


def test_what_asks_by_itself_is_no_traffic() -> None:
    uncounted = re.compile(read_uncounted_routes(RULES))
    asking = ["/", "/health", "/metrics", "/page/assets/{name}", "/page/live", "/ping", "/v2/health/ready"]
    assert all(uncounted.fullmatch(route) for route in asking)
    assert not any(uncounted.fullmatch(route) for route in ("/predict", "/retrain", "/v2", "unmatched"))


def test_targets_show_whether_a_probed_server_answers_and_not_whether_its_probe_does() -> None:
    (panel,) = [panel for panel in grafana.panels("service") if panel["title"] == "Targets"]
    (target,) = panel["targets"]
    chosen = 'job=~"$job", instance=~"$instance"'
    assert target["expr"] == f'up{{job!="probe", {chosen}}} or probe_success{{{chosen}}}'
    scraped = yaml.safe_load((REPOSITORY / "config/prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    assert [job["job_name"] for job in scraped if job.get("metrics_path") == "/probe"] == ["probe"]
    assert "blackbox" in {job["job_name"] for job in scraped}


@pytest.mark.parametrize(("name", "panel"), PANELS)
def test_figures_of_the_last_run_are_shown_only_where_there_are_any(name: str, panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        if "monitor_last_run_" in target["expr"]:
            assert target["expr"].endswith(" > -Inf"), name


# -- provisioning ------------------------------------------------------------------------------------


def test_rates_are_reckoned_from_how_often_prometheus_scrapes() -> None:
    scraping = yaml.safe_load((REPOSITORY / "config/prometheus.yml").read_text(encoding="utf-8"))["global"]
    (source,) = [source for source in grafana.datasources() if source["type"] == "prometheus"]
    assert source["jsonData"]["timeInterval"] == scraping["scrape_interval"]


def test_grafana_finds_the_dashboards_where_they_are_mounted() -> None:
    grafana_service = COMPOSE["grafana"]
    mounts = dict(volume.split(":", 1) for volume in grafana_service["volumes"])
    (provider,) = yaml.safe_load((grafana.FOLDER / "provisioning/dashboards/mlops-loop.yml").read_text())["providers"]
    assert mounts["./config/grafana/dashboards"] == f"{provider['options']['path']}:ro"
    for kind in ("datasources", "dashboards"):
        assert mounts[f"./config/grafana/provisioning/{kind}"] == f"/etc/grafana/provisioning/{kind}:ro"
    home = grafana_service["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/service.json"


@pytest.mark.parametrize("source", grafana.datasources(), ids=lambda source: source["uid"])
def test_data_source_is_a_service_of_the_stack(source: dict[str, Any]) -> None:
    assert re.fullmatch(r"http://(\w+):\d+", source["url"])
    service = source["url"].split("/")[2].split(":")[0]
    port = source["url"].rsplit(":", 1)[1]
    assert any(f":{port}" in word for word in COMPOSE[service]["healthcheck"]["test"])
