"""The loop closed by an alert, on the real stack: shifted traffic, drift, alert, training, verdict; no second one."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from src.core.retrain_record import Step
from tests.support.running import wait_until
from tests.support.stack import Stack
from tests.support.training import iris_parts

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

HURRY = "1s"
FIRING = 'ALERTS{alertname="FeatureDrift", alertstate="firing"}'
SHIFTED = "sepal_length"
ROWS = 360
TREES = "n_estimators: 100"
FORGET_ALERTS = """if True:
    import json, pathlib
    for path in pathlib.Path("data-file/retrain/done").glob("*.json"):
        if json.loads(path.read_bytes())["source"] == "alert":
            path.unlink()
    """


@pytest.fixture(scope="module")
def hurried(stack: Stack) -> Iterator[Stack]:
    """The repository's own rules and routes with shorter times; nothing drifts, and no alert has asked before."""
    stack.wait_until_healthy()
    folder = stack.checkout / "config"
    hurry = ("prometheus.yml", "alerts.yml", "alertmanager/alertmanager.yml")
    kept = {folder / name: (folder / name).read_text() for name in (*hurry, "pipeline.yaml")}
    try:
        # In place: what is mounted is the file and not its name.
        for file, text in kept.items():
            if file.name != "pipeline.yaml":
                file.write_text(yaml.safe_dump(without_patience(file, yaml.safe_load(text))))
        # Other settings than those of the champion, or an alert's request would end as skipped.
        pipeline = folder / "pipeline.yaml"
        assert pipeline.read_text().count(TREES) == 1
        pipeline.write_text(pipeline.read_text().replace(TREES, "n_estimators: 90"))
        read_again(stack, HURRY)
        calm(stack)
        wait_until("no training is on its way", lambda: all("outcome" in request for request in requests(stack)))
        stack.compose("exec", "-T", "inference", "python", "-c", FORGET_ALERTS)
        yield stack
    finally:
        for file, text in kept.items():
            file.write_text(text)
        read_again(stack, "5s")
        calm(stack)


def without_patience(file: Path, content: dict[str, Any]) -> dict[str, Any]:
    """The same with its times shortened, and nothing else changed."""
    match file.name:
        case "prometheus.yml":
            content["global"] |= {"scrape_interval": HURRY, "evaluation_interval": HURRY}
        case "alerts.yml":
            (rule,) = [r for group in content["groups"] for r in group["rules"] if r["alert"] == "FeatureDrift"]
            rule["for"] = HURRY
        case _:
            for route in (content["route"], *content["route"]["routes"]):
                route |= {name: HURRY for name in ("group_interval", "repeat_interval") if name in route}
    return content


def read_again(stack: Stack, interval: str) -> None:
    """Have Prometheus and Alertmanager read their files again, and wait until both have."""
    stack.compose("kill", "--signal", "HUP", "prometheus", "alertmanager")
    prometheus = f"http://127.0.0.1:{stack.ports['PROMETHEUS_PORT']}/api/v1/status/config"
    expected = yaml.safe_load((stack.checkout / "config/alertmanager/alertmanager.yml").read_text())["route"][
        "group_interval"
    ]

    def have() -> bool:
        scraping = yaml.safe_load(httpx.get(prometheus, timeout=10).json()["data"]["yaml"])["global"]
        routing = yaml.safe_load(stack.alertmanager("status")["config"]["original"])["route"]
        return bool(scraping["scrape_interval"] == interval and routing["group_interval"] == expected)

    wait_until("Prometheus and Alertmanager have read their configuration", have, seconds=30)


def calm(stack: Stack) -> None:
    """The windows in which drift is seen hold rows as in training."""
    send_rows(stack)
    wait_until("nothing drifts", lambda: not stack.prometheus('ALERTS{alertname="FeatureDrift"}'), seconds=30)


def requests(stack: Stack) -> list[dict[str, Any]]:
    """The retrain requests, newest first."""
    found = httpx.get(f"{stack.url}/retrain", timeout=10).raise_for_status().json()["requests"]
    return [{name: value for name, value in request.items() if value is not None} for request in found]


def send_rows(stack: Stack, *, shift: float = 0) -> None:
    """More rows than the window holds: as in training, but one column lies so many standard deviations higher."""
    rows, _ = iris_parts()
    frame = rows.drop(columns="species").sample(ROWS, replace=True, random_state=1)
    frame[SHIFTED] += shift * rows[SHIFTED].std()
    answer = httpx.post(f"{stack.url}/predict/batch", json=frame.to_dict("list"), timeout=30)
    assert answer.status_code == 200, answer.text


def drifting(stack: Stack) -> set[str]:
    """The features whose alert fires."""
    return {row["metric"]["feature"] for row in stack.prometheus(FIRING)}


def told(stack: Stack) -> list[dict[str, Any]]:
    """The drift alerts that Alertmanager holds."""
    return [alert for alert in stack.alertmanager("alerts") if alert["labels"]["alertname"] == "FeatureDrift"]


def turned_away(stack: Stack) -> float:
    """How many notifications inference has refused to train for, since the last training was too fresh."""
    metrics = httpx.get(f"{stack.url}/metrics", timeout=10).raise_for_status().text
    (value,) = re.findall(r'^inference_alerts_total\{outcome="cooldown"\} (\S+)$', metrics, flags=re.MULTILINE)
    return float(value)


def number(stack: Stack, query: str) -> float:
    (row,) = stack.prometheus(query)
    return float(row["value"][1])


# What the monitor counts of a training for an alert, as its metrics name it.
COUNTED = (
    'monitor_signals_total{outcome="claimed",source="alert"}',
    'monitor_signals_total{outcome="promoted",source="alert"}',
    "monitor_runs_total",
)


def counted(stack: Stack) -> list[float]:
    """What the monitor has counted, by itself: Prometheus may still know the one that ran before it."""
    ask = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8001/metrics').read().decode())"
    lines = stack.compose("exec", "-T", "monitor", "python", "-c", ask).stdout.splitlines()
    return [sum(float(line.split()[-1]) for line in lines if line.startswith(name)) for name in COUNTED]


def known_to_prometheus(stack: Stack) -> list[float]:
    """The same, as Prometheus has it."""
    return [number(stack, f"sum({name})") for name in COUNTED]


def test_shifted_traffic_ends_in_a_verdict_and_asks_for_no_second_training_within_the_cooldown(hurried: Stack) -> None:
    stack = hurried
    before, known = counted(stack), {request["id"] for request in requests(stack)}
    send_rows(stack, shift=1)
    wait_until("the drift alert fires", lambda: drifting(stack) == {SHIFTED}, seconds=30)
    # The largest: a container that is gone is remembered for a while where Prometheus was restarted with it.
    assert number(stack, f'max(inference_feature_drifted{{feature="{SHIFTED}"}})') == 1
    assert number(stack, f'max(inference_feature_drifted{{feature!="{SHIFTED}"}})') == 0
    assert number(stack, f'max(inference_drift_score{{feature="{SHIFTED}"}})') > 0.25

    (asked,) = wait_until(
        "the alert has asked for a training",
        lambda: [request for request in requests(stack) if request["id"] not in known],
        seconds=30,
    )
    assert asked["source"] == "alert"
    assert 'alertname="FeatureDrift"' in asked["cause"]
    ended = stack.wait_for_end(asked["id"])
    assert (ended["state"], ended["attempts"], ended["source"]) == ("promoted", 1, "alert")
    stack.wait_for_version(ended["model_version"])
    after = [value + 1 for value in before]
    wait_until("Prometheus knows the verdict", lambda: known_to_prometheus(stack) == after, seconds=60)
    steps = {
        row["metric"]["step"]: float(row["value"][1])
        for row in stack.prometheus("monitor_last_run_step_duration_seconds")
    }
    assert set(steps) == set(Step)
    assert min(steps.values()) > 0

    # The new model has seen nothing yet, so that the alert ends, and fires once more.
    wait_until("nothing drifts", lambda: not drifting(stack) and not told(stack), seconds=30)
    cooling = turned_away(stack)
    send_rows(stack, shift=1)
    wait_until("the drift alert fires again", lambda: drifting(stack) == {SHIFTED}, seconds=30)
    wait_until("its notification was turned away", lambda: turned_away(stack) > cooling, seconds=30)
    assert {request["id"] for request in requests(stack)} - known == {asked["id"]}

    # Nothing is new by now: a schedule's request is answered without a training.
    scheduled = httpx.post(f"{stack.url}/retrain", params={"source": "schedule"}, timeout=10).raise_for_status().json()
    skipped = stack.wait_for_end(scheduled["id"])
    assert skipped["state"] == "skipped"
    assert f"nothing new to learn from since version {ended['model_version']}" in skipped["reason"]
    assert httpx.get(f"{stack.url}/health", timeout=10).json()["model"]["version"] == ended["model_version"]
    assert counted(stack) == after
