"""The Compose stack from nothing: it trains, serves, retrains without a failed request, and is as closed as it says."""

import os
import subprocess
from pathlib import Path

import httpx
import pytest

from src.core.retrain_record import Step
from tests.support.readme import STACK_SCRIPTS, on_ports, title
from tests.support.running import wait_until
from tests.support.stack import Stack, copy_checkout

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]

OWN = ("preprocess", "train-model", "inference", "monitor", "quality")
JOBS = ("inference", "monitor", "quality", "prometheus", "alertmanager", "blackbox", "probe")
ONE_SHOTS = {"preprocess", "train-model"}


def test_up_without_env_file_names_the_script(tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path)
    clean = {name: value for name, value in os.environ.items() if "PASSWORD" not in name and "ZENML" not in name}
    command = ["docker", "compose", "--project-name", "mlops-loop-e2e-without-env", "up", "-d"]
    ended = subprocess.run(command, cwd=checkout, env=clean, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "run python3 setup_zenml_api_key.py first" in ended.stderr


def test_stack_is_up_healthy_and_serves_the_first_model(stack: Stack) -> None:
    assert stack.unhealthy() == {}
    assert {name: c.attrs["RestartCount"] for name, c in stack.containers().items() if c.attrs["RestartCount"]} == {}
    assert stack.predict()["model"] == {"name": "iris", "version": "1"}


def test_retrain_serves_a_new_version_without_a_failed_request(stack: Stack) -> None:
    before = stack.predict()["model"]["version"]
    with stack.constant_load() as answers:
        ended = stack.wait_for_end(stack.request_retrain())
        stack.wait_for_version(ended["model_version"])
    assert (ended["state"], ended["attempts"]) == ("promoted", 1)
    assert int(ended["model_version"]) == int(before) + 1
    assert set(answers) == {f"200 v{before}", f"200 v{ended['model_version']}"}


def test_burst_of_requests_costs_at_most_two_runs(stack: Stack) -> None:
    ended = [stack.wait_for_end(request_id) for request_id in [stack.request_retrain() for _ in range(10)]]
    assert {end["state"] for end in ended} == {"promoted"}
    assert len({end["model_version"] for end in ended}) <= 2


def test_zenml_shows_the_runs_with_steps_artifacts_and_a_link_to_mlflow(stack: Stack) -> None:
    ended = stack.wait_for_end(stack.request_retrain())
    run = stack.zenml("/runs?sort_by=desc:created&size=1&hydrate=true")["items"][0]
    assert (run["body"]["status"], run["resources"]["pipeline"]["name"]) == ("completed", "training")
    steps = {step["name"]: step for step in stack.zenml(f"/steps?pipeline_run_id={run['id']}&hydrate=true")["items"]}
    assert set(steps) == set(Step)
    assert (
        "dataset" in steps["preprocess"]["resources"]["outputs"] or steps["preprocess"]["body"]["status"] == "completed"
    )
    metadata = steps["train"]["metadata"]["run_metadata"]
    assert metadata["mlflow_run_id"] == ended["mlflow_run_id"]
    assert metadata["mlflow_run"].startswith(f"http://localhost:{stack.ports['MLFLOW_PORT']}/#/experiments/")
    assert metadata["mlflow_run"].endswith(ended["mlflow_run_id"])


def test_training_authenticates_as_the_service_account(stack: Stack) -> None:
    run = stack.zenml("/runs?sort_by=desc:created&size=1&hydrate=true")["items"][0]
    user = run["resources"]["user"]
    assert (user["name"], user["body"]["is_service_account"]) == ("training-service", True)


def test_setup_again_keeps_the_secrets_and_rotates_the_key(stack: Stack) -> None:
    before = stack.secrets()
    told = stack.run("python3", "setup_zenml_api_key.py")
    after = stack.secrets()
    assert {name for name in before if before[name] != after[name]} == {"ZENML_STORE_API_KEY"}
    assert [value for value in (*before.values(), *after.values()) if value in told.stdout + told.stderr] == []
    assert (stack.checkout / ".env").stat().st_mode & 0o777 == 0o600
    stack.up()  # gives the new key to train-model
    assert stack.wait_for_end(stack.request_retrain())["state"] == "promoted"


def test_prometheus_scrapes_every_target_and_knows_the_alerts(stack: Stack) -> None:
    def all_up() -> bool:
        found = {row["metric"]["job"]: row["value"][1] for row in stack.prometheus("min by (job) (up)")}
        return found == dict.fromkeys(JOBS, "1")

    wait_until("Prometheus scrapes everything", all_up)
    checked = stack.compose("exec", "-T", "prometheus", "promtool", "check", "config", "/etc/prometheus/prometheus.yml")
    assert "rules found" in checked.stdout
    assert stack.alertmanager("alerts") == []


def test_grafana_has_its_data_sources_and_dashboards(stack: Stack) -> None:
    if not stack.has_grafana:
        pytest.skip("no registry gives Grafana's image here: the stack runs without that one service")
    login = ("admin", stack.secrets()["GRAFANA_ADMIN_PASSWORD"])
    url = f"http://127.0.0.1:{stack.ports['GRAFANA_PORT']}/api"
    assert httpx.get(f"{url}/datasources/uid/prometheus/health", auth=login, timeout=10).json()["status"] == "OK"
    found = httpx.get(f"{url}/search", params={"type": "dash-db"}, auth=login, timeout=10).json()
    assert sorted(board["title"] for board in found) == ["Model", "Retraining", "Service"]


@pytest.mark.parametrize("script", STACK_SCRIPTS, ids=title)
def test_readme_command_works_as_written(stack: Stack, script: str) -> None:
    ended = stack.run("bash", "-euo", "pipefail", "-c", on_ports(script, {"8000": stack.ports["INFERENCE_PORT"]}))
    assert (ended.stdout + ended.stderr).strip(), f"printed nothing: {script}"


def test_every_container_is_limited_and_without_capabilities(stack: Stack) -> None:
    stack.require_limits()


@pytest.mark.parametrize("service", OWN)
def test_own_containers_have_no_more_rights_than_they_need(stack: Stack, service: str) -> None:
    attributes = stack.container(service).attrs
    host = attributes["HostConfig"]
    assert attributes["Config"]["User"] == "10001:10001"
    assert not host["Privileged"]
    assert host["Init"]
    assert host["RestartPolicy"]["Name"] == ("no" if service in ONE_SHOTS else "always")
    assert attributes["Config"]["Healthcheck"] if service not in ONE_SHOTS else True


def test_only_the_docker_proxy_holds_the_socket(stack: Stack) -> None:
    holders = {
        service
        for service, container in stack.containers().items()
        if any("docker.sock" in mount["Source"] for mount in container.attrs["Mounts"])
    }
    assert holders == {"docker-proxy"}
    (network,) = stack.container("docker-proxy").attrs["NetworkSettings"]["Networks"]
    assert stack.docker.networks.get(network).attrs["Internal"]
    peers = {s for s, c in stack.containers().items() if network in c.attrs["NetworkSettings"]["Networks"]}
    assert peers == {"docker-proxy", "monitor"}


def test_every_port_is_on_loopback_and_no_database_is_published(stack: Stack) -> None:
    published: dict[str, set[str]] = {}
    for service, container in stack.containers().items():
        bindings = [b for group in (container.attrs["HostConfig"]["PortBindings"] or {}).values() for b in group]
        published[service] = {binding["HostIp"] for binding in bindings}
    assert set().union(*published.values()) == {"127.0.0.1"}
    open_services = {"inference", "mlflow", "zenml", "prometheus"}
    assert {name for name, ips in published.items() if ips} - {"grafana"} == open_services


def test_no_secret_is_in_logs_images_or_on_the_shared_volume(stack: Stack) -> None:
    secrets = stack.secrets().values()
    logs = stack.compose("logs", "--no-color").stdout
    images = "".join(
        stack.run("docker", what, *options, stack.container(service).attrs["Image"]).stdout
        for service in OWN
        for what, options in (("inspect", ()), ("history", ("--no-trunc",)))
    )
    list_files = "import pathlib; [print(p.read_bytes()) for p in pathlib.Path('data-file').rglob('*') if p.is_file()]"
    volume = stack.compose("exec", "-T", "inference", "python", "-c", list_files).stdout
    assert "sepal_length" in volume
    assert [text for text in (logs, images, volume) if any(secret in text for secret in secrets)] == []


def test_images_hold_no_tools_and_no_certificate(stack: Stack) -> None:
    look = """if True:
        import importlib.util, pathlib, shutil
        print([tool for tool in ("uv", "gcc", "git", "pip", "curl") if shutil.which(tool)])
        print([name for name in ("pip", "uv") if importlib.util.find_spec(name)])
        for folder, names in (("/run/secrets", "*"), ("/app", "tests*"), ("/root", ".cache/*")):
            print([str(path) for path in pathlib.Path(folder).glob(names)])
        """
    for service in OWN:
        image = stack.container(service).attrs["Image"]
        ended = stack.run("docker", "run", "--rm", "--user", "0", "--network", "none", image, "python", "-c", look)
        assert ended.stdout.split() == ["[]"] * 5, service


def test_make_up_tells_at_once_that_the_training_failed(stack: Stack) -> None:
    bad = {"MODEL_NAME": "another", "ZENML_STORE_API_KEY": "bad"}
    good, stack.environment = stack.environment, stack.environment | bad
    try:
        ended = stack.run("make", "up", check=False)
    finally:
        stack.environment = good
    assert ended.returncode != 0
    assert "refuses the key (401)" in ended.stdout
    assert "error: the training failed; its last lines are above" in ended.stderr
    stack.up()


def test_down_and_up_again_keeps_the_state_and_serves_at_once(stack: Stack) -> None:
    version = stack.predict()["model"]["version"]
    known = httpx.get(f"{stack.url}/retrain", timeout=10).json()["requests"]
    stack.compose("down")
    stack.compose("up", "-d", "inference")  # alone: it needs nobody to serve the last good version
    wait_until("the kept model is served", stack.is_ready, seconds=15)
    assert stack.predict()["model"]["version"] == version
    assert httpx.get(f"{stack.url}/retrain", timeout=10).json()["requests"] == known
    stack.up()
    assert stack.unhealthy() == {}
    assert stack.predict()["model"]["version"] == version  # the stack's start trained nothing
    assert stack.wait_for_end(stack.request_retrain())["state"] == "promoted"
    # Well below the five minutes for which Prometheus, stopped along with them, would take those before for running.
    wait_until("Prometheus has one inference", lambda: len(stack.prometheus('up{job="inference"}')) == 1, seconds=90)
