"""What goes wrong in production, done to the real stack: it works again by itself, and no request is lost."""

import os
import time
from collections.abc import Iterator

import docker
import pytest

from src.services.local.processes import REPOSITORY
from tests.support.running import wait_until
from tests.support.stack import PROJECT, STEPS, Stack

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="killing a container's process from the host needs root")
ENGINE = REPOSITORY / "tests/e2e/engine"
NOT_OURS = 3


@pytest.fixture(autouse=True)
def healthy_before_and_after(stack: Stack) -> Iterator[None]:
    stack.wait_until_healthy()
    yield
    stack.wait_until_healthy()
    assert stack.predict()["prediction"] == "setosa"


# -- killed processes ------------------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("steps", [STEPS[:2], STEPS[2:4], STEPS[4:]])
def test_training_killed_at_any_step_is_repeated(stack: Stack, steps: tuple[str, ...]) -> None:
    since = time.time()
    with stack.constant_load() as answers:
        ended = stack.retrain_and(*((step, "train-model") for step in steps))
        stack.wait_for_version(ended["model_version"])
    assert (ended["state"], ended["attempts"], ended["last_error"]) == ("promoted", 1 + len(steps), None)
    for attempt in range(1, 1 + len(steps)):
        killed = f"training attempt {attempt} of 3 failed: killed by SIGKILL (exit code 137)"
        stack.wait_for_log("monitor", killed, since=since)
    assert all(answer.startswith("200 ") for answer in answers), answers


def test_training_without_enough_memory_says_so_and_what_to_raise(stack: Stack) -> None:
    container = stack.container("train-model")
    before = container.attrs["HostConfig"]["Memory"]
    container.update(mem_limit="200m", memswap_limit="200m")
    try:
        since = time.time()
        ended = stack.wait_for_end(stack.request_retrain(), seconds=240)
    finally:
        container.update(mem_limit=before, memswap_limit=before * 2)
    assert (ended["state"], ended["attempts"]) == ("failed", 3)
    out_of_memory = "out of memory; raise TRAIN_MEMORY in .env, or in Kubernetes the memory limit of the CronJob"
    assert ended["reason"] == f"gave up after 3 attempts: {out_of_memory}"
    for attempt in (1, 2, 3):
        failed = f"training attempt {attempt} of 3 failed: {out_of_memory}"
        stack.wait_for_log("monitor", failed, since=since)
    stack.wait_for_log("train-model", "reached its limit of 210 MB and was killed", since=since)
    counted = 'monitor_trainer_exits_total{kind="out_of_memory"} >= 3'
    wait_until("Prometheus knows of it", lambda: stack.prometheus(counted), seconds=30)
    assert stack.wait_for_end(stack.request_retrain())["state"] == "promoted"


@needs_root
def test_monitor_killed_at_every_step_of_a_retrain_costs_no_attempt(stack: Stack) -> None:
    with stack.constant_load() as answers:
        ended = stack.retrain_and(*((step, "monitor") for step in STEPS))
    assert (ended["state"], ended["attempts"]) == ("promoted", 1)
    assert all(answer.startswith("200 ") for answer in answers), answers


@needs_root
def test_monitor_killed_before_it_has_seen_the_signal(stack: Stack) -> None:
    stack.kill("monitor")
    ended = stack.wait_for_end(stack.request_retrain())
    assert (ended["state"], ended["attempts"]) == ("promoted", 1)


@needs_root
def test_inference_killed_at_every_step_of_a_retrain_serves_again_and_ends_at_the_new_version(stack: Stack) -> None:
    ended = stack.retrain_and(*((step, "inference") for step in STEPS))
    assert (ended["state"], ended["attempts"]) == ("promoted", 1)
    stack.wait_for_version(ended["model_version"])


# -- restarted servers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["mlflow", "mysql", "zenml"])
def test_server_restarted_in_the_middle_of_a_training(stack: Stack, service: str) -> None:
    with stack.constant_load() as answers:
        since = time.time()
        request_id = stack.request_retrain()
        stack.wait_for_log("train-model", "split …", since=since)
        stack.container(service).restart()
        ended = stack.wait_for_end(request_id, seconds=240)
        stack.wait_for_version(ended["model_version"])
    assert ended["state"] == "promoted"
    assert all(answer.startswith("200 ") for answer in answers), answers


def test_inference_restarted_while_mlflow_is_stopped_serves_from_its_cache(stack: Stack) -> None:
    version = stack.predict()["model"]["version"]
    stack.compose("stop", "mlflow")
    try:
        stack.container("inference").restart()
        wait_until("inference serves again", stack.is_ready, seconds=30)
        assert stack.predict()["model"]["version"] == version
        missed = 'probe_success{instance="mlflow"} == 0'
        wait_until("Prometheus knows that MLflow is missed", lambda: stack.prometheus(missed), seconds=30)
        request_id = stack.request_retrain()  # waits for MLflow, as its training does
    finally:
        stack.compose("start", "mlflow")
    assert stack.wait_for_end(request_id, seconds=180)["state"] == "promoted"


# -- Docker itself ---------------------------------------------------------------------------------------


def test_removed_training_container_leaves_requests_waiting_until_it_is_back(stack: Stack) -> None:
    stack.container("train-model").remove()
    request_id = stack.request_retrain()
    wait_until("the request says why it waits", lambda: stack.retrain(request_id)["last_error"], seconds=30)
    waiting = stack.retrain(request_id)
    assert (waiting["state"], waiting["attempts"]) == ("queued", 0)
    assert "not found" in waiting["last_error"]
    stack.compose("up", "-d")
    assert stack.wait_for_end(request_id)["state"] == "promoted"


@pytest.mark.skipif(
    not os.environ.get("MLOPS_LOOP_RESTART_ENGINE"), reason="restarts the machine's Docker Engine: only where told to"
)
def test_engine_restarted_in_the_middle_of_a_training(stack: Stack) -> None:
    since = time.time()
    request_id = stack.request_retrain()
    stack.wait_for_log("train-model", "split …", since=since)
    before = _started(stack)
    if stack.run("bash", str(ENGINE / "stop.sh"), check=False).returncode == NOT_OURS:
        pytest.skip("this machine's engine is not the tests' to restart")
    stack.run("bash", str(ENGINE / "ensure.sh"))
    stack.docker = docker.from_env()
    wait_until("the last good version is served again", stack.is_ready, seconds=60)
    ended = stack.wait_for_end(request_id, seconds=240)
    assert ended["state"] == "promoted"
    assert ended["attempts"] >= 2
    stack.wait_for_version(ended["model_version"])
    after = _started(stack)
    assert [service for service in before if before[service] == after[service]] == ["preprocess"]


def test_requests_wait_and_say_why_while_the_docker_proxy_is_down(stack: Stack) -> None:
    stack.compose("stop", "docker-proxy")
    try:
        request_id = stack.request_retrain()
        wait_until("the request says why it waits", lambda: stack.retrain(request_id)["last_error"], seconds=30)
        waiting = stack.retrain(request_id)
        assert (waiting["state"], waiting["attempts"]) == ("queued", 0)
        assert "cannot ask Docker" in waiting["last_error"]
    finally:
        stack.compose("start", "docker-proxy")
    ended = stack.wait_for_end(request_id)
    assert (ended["state"], ended["attempts"]) == ("promoted", 1)


# -- a full disk ------------------------------------------------------------------------------------------


@pytest.fixture
def small_volume(stack: Stack) -> Iterator[None]:
    """A shared volume of 512 kB in memory; afterwards an ordinary one. The requests of before are gone."""
    volume = f"{PROJECT}_data"
    stack.compose("down")
    stack.docker.volumes.get(volume).remove()
    stack.docker.volumes.create(
        volume,
        driver_opts={"type": "tmpfs", "device": "tmpfs", "o": "size=512k,uid=10001,gid=10001,mode=0770"},
        labels={"com.docker.compose.project": PROJECT, "com.docker.compose.volume": "data"},
    )
    stack.up()
    yield
    stack.compose("down")
    stack.docker.volumes.get(volume).remove()
    stack.up()


@pytest.mark.usefixtures("small_volume")
def test_full_shared_volume_refuses_new_requests_and_loses_none(stack: Stack) -> None:
    version = stack.predict()["model"]["version"]
    accepted = stack.request_retrain()
    wait_until("the request runs", lambda: stack.retrain(accepted)["state"] == "running")
    _on_volume(stack, "(p / 'fill').write_bytes(b'x' * 1_000_000)")
    refused = stack.post_retrain()
    assert refused.status_code == 507
    assert stack.predict()["model"]["version"] == version
    wait_until("the training cannot tell its outcome", lambda: _state(stack, "train-model") == "exited", seconds=60)
    assert stack.retrain(accepted)["state"] == "running"
    _on_volume(stack, "(p / 'fill').unlink()")
    assert stack.wait_for_end(accepted)["state"] == "promoted"
    assert stack.wait_for_end(stack.request_retrain())["state"] == "promoted"


def _started(stack: Stack) -> dict[str, str]:
    """When each container was last started."""
    return {service: container.attrs["State"]["StartedAt"] for service, container in stack.containers().items()}


def _on_volume(stack: Stack, statement: str) -> None:
    code = f"import contextlib, pathlib; p = pathlib.Path('data-file')\nwith contextlib.suppress(OSError): {statement}"
    stack.compose("exec", "-T", "inference", "python", "-c", code)


def _state(stack: Stack, service: str) -> str:
    return str(stack.container(service).attrs["State"]["Status"])
