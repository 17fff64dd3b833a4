"""docs/security.md on the real stack: who reaches what with which credential, cell by cell."""

import json
import socket
from collections.abc import Iterator

import pytest

from tests.support.browser import chromium
from tests.support.doors import ACTIONS, FIRING, FOREIGN_HOST, FOREIGN_PAGE, Sender, table
from tests.support.stack import Stack

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

PORTS = table("The ports of this machine")
HERE, PAGE, ELSEWHERE = "A program on this machine", "A web page of another site", "Another host"
WRITE_KEY = "a-write-key-of-tests"


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
        stack.wait_for_all()
    finally:
        stack.environment = before
        stack.up()


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
    before = opened.request_ids()
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
    assert opened.request_ids() == before
    found = ACTIONS["Read runs, models and aliases"].paths[0]
    model = Sender(opened, "127.0.0.1").send("GET", "mlflow", found, {}).json()["registered_model"]
    assert "attacked" not in {tag["key"] for tag in model.get("tags", [])}
