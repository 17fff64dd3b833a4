"""The commands of docs/upgrade.md that need the stack: copy its state, convert a database, go back to the copy."""

import re
from typing import Any

import httpx
import pytest

from tests.support.stack import PROJECT, Stack
from tests.support.upgrade_page import CONVERT, COPY, GO_BACK

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]


def run(stack: Stack, block: str) -> str:
    """A block of the page for this project; a checkout of a test has no other versions."""
    script = re.sub(r"\bmlops-loop([_-])", rf"{PROJECT}\1", block)
    script = re.sub(r"^ *git checkout .*$", "", script, flags=re.MULTILINE)
    if not stack.has_grafana:
        script = script.replace(" grafana;", ";")
    return stack.run("bash", "-euo", "pipefail", "-c", script).stdout


def retrain_requests(stack: Stack) -> Any:
    return httpx.get(f"{stack.url}/retrain", timeout=10).raise_for_status().json()


def test_database_of_mlflow_is_converted(stack: Stack) -> None:
    stack.wait_until_healthy()
    run(stack, CONVERT)
    assert stack.unhealthy() == {}


def test_copied_state_comes_back(stack: Stack) -> None:
    assert stack.wait_for_end(stack.request_retrain())["state"] == "promoted"
    before, requests = stack.predict(), retrain_requests(stack)
    run(stack, COPY)
    samples = stack.docker.volumes.get(f"{PROJECT}_prometheus").attrs["CreatedAt"]
    run(stack, GO_BACK)
    after = stack.predict()
    assert {**after, "request_id": None} == {**before, "request_id": None}
    assert retrain_requests(stack) == requests
    assert stack.docker.volumes.get(f"{PROJECT}_prometheus").attrs["CreatedAt"] == samples
    assert stack.unhealthy() == {}
    assert stack.wait_for_end(stack.request_retrain())["state"] == "promoted"
