"""An alert leaves the stack through Alertmanager's own network, to the receiver that the settings name."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from docker.models.containers import Container

from src.services.local.processes import REPOSITORY
from tests.support.running import wait_until
from tests.support.stack import PROJECT, Stack

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

# Prints each body that is posted to it: one line of JSON.
RECEIVER = """if True:
    from http.server import BaseHTTPRequestHandler, HTTPServer
    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            print(self.rfile.read(int(self.headers["Content-Length"])).decode(), end="", flush=True)
            self.send_response(200)
            self.end_headers()
    HTTPServer(("", 8080), Receiver).serve_forever()
    """
PAGE = (REPOSITORY / "docs/notifications.md").read_text(encoding="utf-8")
APPLY, SEND, LOOK = re.findall(r"^```bash\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def receiver(stack: Stack) -> Iterator[Container]:
    """A container on Alertmanager's way out, and the settings that send alerts there."""
    stack.wait_until_healthy()
    name = f"{PROJECT}-receiver"
    image = stack.container("inference").image
    command = ["python", "-c", RECEIVER]
    found = stack.docker.containers.run(image, command, name=name, network=f"{PROJECT}_notifications", detach=True)
    stack.environment["ALERT_WEBHOOK_URL"] = f"http://{name}:8080/hook"
    try:
        stack.run("bash", "-euc", APPLY)
        yield found
    finally:
        del stack.environment["ALERT_WEBHOOK_URL"]
        found.remove(force=True)
        stack.run("bash", "-euc", APPLY)
        stack.wait_until_healthy()


def test_test_alert_of_the_page_arrives_and_the_log_shows_no_address(stack: Stack, receiver: Container) -> None:
    stack.wait_until_healthy()
    stack.run("bash", "-euc", SEND)

    def sent() -> list[dict[str, Any]]:
        alerts = [alert for line in receiver.logs(stderr=False).splitlines() for alert in json.loads(line)["alerts"]]
        return [alert for alert in alerts if alert["labels"]["alertname"] == "TestAlert"]

    (alert,) = wait_until("the alert is there", sent, seconds=60)
    assert (alert["status"], alert["labels"]["severity"]) == ("firing", "warning")
    assert alert["annotations"]["summary"] == "a test of the notifications"
    assert "hook" not in stack.run("bash", "-euc", LOOK).stdout
    environment = stack.compose("exec", "-T", "alertmanager", "cat", "/proc/1/environ").stdout
    assert "PATH=" in environment
    assert "hook" not in environment
    assert stack.secrets()["ALERT_TOKEN"] not in environment
