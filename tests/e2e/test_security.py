"""docs/security.md on the real stack: who reaches what with which credential, cell by cell."""

import json
import socket
from base64 import b64encode
from collections.abc import Iterator

import httpx
import pytest

from tests.support.browser import chromium
from tests.support.doors import FOREIGN_HOST, FOREIGN_PAGE, Action, Sender, table
from tests.support.inference_client import FLOWER
from tests.support.stack import Stack

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

PORTS = table("The ports of this machine")
HERE, PAGE, ELSEWHERE = "A program on this machine", "A web page of another site", "Another host"
WRITE_KEY = "a-write-key-of-tests"


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def zenml_login(stack: Stack) -> dict[str, str]:
    login = {"username": "admin", "password": stack.secrets()["ZENML_ADMIN_PASSWORD"]}
    url = f"http://127.0.0.1:{stack.ports['ZENML_PORT']}/api/v1/login"
    return bearer(httpx.post(url, data=login, timeout=30).raise_for_status().json()["access_token"])


FIRING = {"version": "4", "groupKey": "tried", "alerts": [{"status": "firing", "labels": {"alertname": "Tried"}}]}
TAG = {"name": "iris", "key": "tried", "value": "yes"}
WRITE_PATHS = (
    "/api/v1/write",
    "/api/v1/otlp/v1/metrics",
    "/api/v1/admin/tsdb/delete_series?match[]=up",
    "/-/reload",
    "/-/quit",
)
ACTIONS = {
    "Predict, read scores and metrics": Action("POST", "inference", ("/predict",), {"json": FLOWER}),
    "Request a training, roll back": Action(
        "POST", "inference", ("/retrain",), credential=("key", lambda _: bearer(WRITE_KEY))
    ),
    "Request a training by an alert": Action(
        "POST",
        "inference",
        ("/alerts",),
        {"json": FIRING},
        ("token", lambda stack: bearer(stack.secrets()["ALERT_TOKEN"])),
    ),
    "Read runs, models and aliases": Action("GET", "mlflow", ("/api/2.0/mlflow/registered-models/get?name=iris",)),
    "Change runs, models and aliases": Action(
        "POST", "mlflow", ("/api/2.0/mlflow/registered-models/set-tag",), {"json": TAG}
    ),
    "Read and change pipelines": Action("GET", "zenml", ("/api/v1/runs",), credential=("password", zenml_login)),
    "Query metrics and alerts": Action("GET", "prometheus", ("/api/v1/query?query=up", "/api/v1/alerts")),
    "Write samples, delete, reload, stop": Action("POST", "prometheus", WRITE_PATHS),
    "Read and change dashboards": Action(
        "GET",
        "grafana",
        ("/api/search",),
        credential=("password", lambda stack: basic("admin", stack.secrets()["GRAFANA_ADMIN_PASSWORD"])),
    ),
}
WITHOUT_PORT = {
    "Raise and silence alerts": "alertmanager",
    "Start a training, list containers": "docker-proxy",
    "Read and change the databases": "mysql",
}


def address_of_this_machine() -> str:
    """The address by which other hosts reach this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: it selects the interface of the default route
        return str(probe.getsockname()[0])


@pytest.fixture(scope="module")
def opened(stack: Stack) -> Iterator[Stack]:
    """The stack with BIND_ADDRESS and WRITE_API_KEY set; as before at the end, with the trainings over."""
    before = dict(stack.environment)
    stack.environment |= {"BIND_ADDRESS": "0.0.0.0", "WRITE_API_KEY": WRITE_KEY}  # noqa: S104 - what is tested
    try:
        stack.up()
        yield stack
        for request in requests(stack):
            stack.wait_for_end(request)
    finally:
        stack.environment = before
        stack.up()


def requests(stack: Stack) -> list[str]:
    """The ids of the newest retrain requests."""
    listed = httpx.get(f"{stack.url}/retrain", timeout=5).raise_for_status().json()
    return [request["id"] for request in listed["requests"]]


def test_every_action_of_the_table_is_tried() -> None:
    assert set(PORTS) == {*ACTIONS, *WITHOUT_PORT}


@pytest.mark.parametrize("name", ACTIONS)
def test_action_needs_the_credential_of_the_table(opened: Stack, name: str) -> None:
    action, row = ACTIONS[name], PORTS[name]
    if action.server == "grafana" and not opened.has_grafana:
        pytest.skip("no Grafana image is available")
    assert row["At"].lower() == action.server
    assert {
        HERE: action.as_program(Sender(opened, "127.0.0.1")),
        PAGE: action.as_page(Sender(opened, "127.0.0.1", FOREIGN_PAGE)),
        ELSEWHERE: action.as_program(Sender(opened, address_of_this_machine())),
    } == {column: row[column] for column in (HERE, PAGE, ELSEWHERE)}


@pytest.mark.parametrize("name", WITHOUT_PORT)
def test_server_of_the_table_has_no_port_on_this_machine(opened: Stack, name: str) -> None:
    row = PORTS[name]
    assert {row[column] for column in (HERE, PAGE, ELSEWHERE)} == {"no port"}
    published = opened.container(WITHOUT_PORT[name]).attrs["NetworkSettings"]["Ports"]
    assert not any(published.values())


def test_page_of_another_site_changes_nothing_from_a_real_browser(opened: Stack) -> None:
    before = requests(opened)
    ports = opened.ports
    targets = [
        f"http://localhost:{ports['INFERENCE_PORT']}/retrain",
        f"http://localhost:{ports['INFERENCE_PORT']}/alerts",
        f"http://localhost:{ports['MLFLOW_PORT']}/api/2.0/mlflow/registered-models/set-tag",
        f"http://localhost:{ports['PROMETHEUS_PORT']}/api/v1/query?query=up",
    ]
    attack = (
        """([url, body]) => fetch(url, {method: "POST", mode: "no-cors", body}).then(a => a.type, () => "failed")"""
    )
    with chromium() as browser:
        page = browser.new_page()
        page.route(f"http://{FOREIGN_HOST}/", lambda route: route.fulfill(body="<p>free prizes</p>"))
        page.goto(f"http://{FOREIGN_HOST}/")
        body = json.dumps({**FIRING, "name": "iris", "key": "attacked", "value": "yes"})
        answers = {page.evaluate(attack, [target, body]) for target in targets}
    assert answers <= {"opaque", "failed"}
    assert requests(opened) == before
    found = ACTIONS["Read runs, models and aliases"].paths[0]
    model = Sender(opened, "127.0.0.1").send("GET", "mlflow", found, {}).json()["registered_model"]
    assert "attacked" not in {tag["key"] for tag in model.get("tags", [])}
