"""`make up` from the states in which users find their stack: it ends with a served model each time."""

import pytest

from tests.support.running import wait_until
from tests.support.stack import Stack

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]

KEY = "ZENML_STORE_API_KEY"
ADDED_LATER = "ALERT_TOKEN"


def started(stack: Stack) -> dict[str, str]:
    """When each service's container was last started."""
    return {service: container.attrs["State"]["StartedAt"] for service, container in stack.containers().items()}


def require_working(stack: Stack) -> None:
    """A model is served, and a training reaches ZenML with the key of ``.env``."""
    stack.wait_until_healthy()
    assert stack.predict()["prediction"] == "setosa"
    assert stack.wait_for_end(stack.request_retrain())["state"] == "promoted"


def test_running_stack_keeps_its_key_and_its_containers(stack: Stack) -> None:
    stack.wait_until_healthy()
    secrets, before = stack.secrets(), started(stack)
    assert "==> ZenML accepts ZENML_STORE_API_KEY" in stack.run("make", "up").stdout
    assert stack.secrets() == secrets
    # One-shots run again: the first preprocesses, the second finds nothing to do.
    changed = {service for service, moment in started(stack).items() if moment != before[service]}
    assert changed <= {"preprocess", "train-model"}


def test_older_env_file_with_a_revoked_key_and_windows_line_ends_is_completed(stack: Stack) -> None:
    secrets = stack.secrets()
    file = stack.checkout / ".env"
    lines = [line for line in file.read_text().splitlines() if not line.startswith(ADDED_LATER)]
    text = "\r\n".join(lines).replace(secrets[KEY], "ZENKEY_of-before") + "\r\n"
    file.write_bytes(text.encode())
    stack.run("make", "up")
    after = stack.secrets()
    assert {name for name in secrets if after[name] != secrets[name]} == {KEY, ADDED_LATER}
    assert after[KEY].startswith("ZENKEY_")
    assert b"\n" not in file.read_bytes().replace(b"\r\n", b"")
    require_working(stack)


def test_deleted_volumes_are_made_anew_with_the_passwords_of_the_env_file(stack: Stack) -> None:
    secrets = stack.secrets()
    stack.compose("down", "--volumes", "--remove-orphans")
    assert stack.containers() == {}
    stack.run("make", "up")
    assert {name for name, value in stack.secrets().items() if value != secrets[name]} == {KEY}
    wait_until("the first model is served", lambda: stack.predict()["model"]["version"] == "1")
    assert stack.unhealthy() == {}
