"""The Compose stack of a fresh checkout, on a real Docker Engine, as its users and their accidents see it."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import docker
import httpx
import yaml
from docker.errors import NotFound
from docker.models.containers import Container

from src.services.local.processes import REPOSITORY
from src.services.stack import dotenv_text, variables
from tests.support.inference_client import InferenceClient
from tests.support.running import free_port, wait_until

PROJECT = "mlops-loop-e2e"
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
PORTS = {
    "INFERENCE_PORT": "inference",
    "MLFLOW_PORT": "mlflow",
    "ZENML_PORT": "zenml",
    "PROMETHEUS_PORT": "prometheus",
    "GRAFANA_PORT": "grafana",
}
# What each step of a training run logs when it begins.
STEPS = ("loading ZenML", "preprocess …", "train …", "evaluate_on_holdout …", "promote …")


def copy_checkout(target: Path) -> Path:
    """What git would clone, and what is about to be committed: nothing that one machine has written. A strict umask."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listing, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (REPOSITORY / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, target / name)
    for path in target.rglob("*"):
        path.chmod(path.stat().st_mode & ~0o027)
    return target


class Stack(InferenceClient):
    """One project of docker-compose.yml, unmodified, on ports of its own."""

    def __init__(self, checkout: Path, project: str = PROJECT) -> None:
        self.checkout = checkout
        self.project = project
        self.ports = {variable: free_port() for variable in PORTS}
        super().__init__(f"http://127.0.0.1:{self.ports['INFERENCE_PORT']}")
        self.docker = docker.from_env()
        compose = yaml.safe_load((checkout / "docker-compose.yml").read_text(encoding="utf-8"))
        self.has_grafana = self._can_have(compose["services"]["grafana"]["image"])
        own = {"COMPOSE_PROJECT_NAME": project, **{name: str(port) for name, port in self.ports.items()}}
        if not self.has_grafana:
            own["COMPOSE_PROFILES"] = "metrics"
        # A machine whose own certificates are needed to reach PyPI; elsewhere they change nothing.
        if CA_BUNDLE.exists():
            own["BUILD_CA_CERTIFICATE"] = str(CA_BUNDLE)
        self.environment = {**os.environ, **own}

    def _can_have(self, image: str) -> bool:
        here = ["docker", "image", "inspect", image]
        pull = ["docker", "pull", "--quiet", image]
        return any(
            subprocess.run(command, capture_output=True, check=False).returncode == 0 for command in (here, pull)
        )

    # -- commands --------------------------------------------------------------------------------------

    def run(self, *command: str, check: bool = True, seconds: float = 900) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout."""
        ended = subprocess.run(
            command,
            cwd=self.checkout,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        assert not check or ended.returncode == 0, f"{' '.join(command)}:\n{ended.stdout}\n{ended.stderr}"
        return ended

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("docker", "compose", *arguments, check=check)

    def up(self) -> None:
        """The command that the README gives."""
        self.compose("up", "-d", "--wait")

    def remove(self) -> None:
        """Everything of this project, its volumes too."""
        # Also where .env is missing or was never finished.
        environment = dict.fromkeys(variables.REQUIRED, "x") | self.environment
        command = ["docker", "compose", "--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5"]
        subprocess.run(command, cwd=self.checkout, env=environment, capture_output=True, check=True)

    def secrets(self) -> dict[str, str]:
        """The variables of .env that hold secrets."""
        values = dotenv_text.values((self.checkout / ".env").read_text())
        return {name: values[name] for name in variables.REQUIRED}

    # -- containers ------------------------------------------------------------------------------------

    def containers(self) -> dict[str, Container]:
        """The project's containers by service, running or not."""
        labels = [f"com.docker.compose.project={self.project}", "com.docker.compose.oneoff=False"]
        found = self.docker.containers.list(all=True, filters={"label": labels})
        return {container.labels["com.docker.compose.service"]: container for container in found}

    def replicas(self, service: str) -> list[Container]:
        """A service's containers, running or not."""
        labels = [f"com.docker.compose.project={self.project}", f"com.docker.compose.service={service}"]
        found = self.docker.containers.list(all=True, filters={"label": [*labels, "com.docker.compose.oneoff=False"]})
        return list(found)

    def container(self, service: str) -> Container:
        (found,) = self.replicas(service)
        return found

    def kill(self, service: str) -> None:
        """SIGKILL from the host, as a kernel short of memory sends it, to one container: Docker restarts it."""

        def pid() -> int:  # 0, which would mean this very process, while the container starts again
            return int(self.replicas(service)[0].attrs["State"]["Pid"])

        os.kill(wait_until(f"{service} runs", pid), signal.SIGKILL)

    def wait_for_log(self, service: str, text: str, *, since: float, seconds: float = 90) -> None:
        """Wait until a service logs this after ``since``, in seconds of the epoch."""

        def seen() -> bool:
            try:
                return text.encode() in self.container(service).logs(since=since)
            except (NotFound, ValueError):  # not there just now
                return False

        wait_until(f"{service} logs {text!r}", seen, seconds=seconds)

    def unhealthy(self) -> dict[str, str]:
        """Each service that is not as it should be, and what it is instead."""
        listed = self.compose("ps", "--all", "--format", "json").stdout.splitlines()
        states = {row["Service"]: row for row in map(json.loads, listed)}
        wrong = {name: "absent" for name in self.services() if name not in states}
        for name, row in states.items():
            done = row["State"] == "exited" and row["ExitCode"] == 0
            good = done if name in {"preprocess", "train-model"} else row["Health"] == "healthy"
            if not good:
                wrong[name] = row["Status"]
        return wrong

    def services(self) -> Sequence[str]:
        return self.compose("config", "--services").stdout.split()

    def wait_until_healthy(self, *, seconds: float = 180) -> None:
        """Wait until every service is healthy, or ended well where it is a one-shot."""
        wait_until("all services are healthy", lambda: not self.unhealthy(), seconds=seconds, interval=0.5)

    def require_limits(self) -> None:
        """Every container is as closed and as limited as docker-compose.yml promises."""
        for service, container in self.containers().items():
            host = container.attrs["HostConfig"]
            assert host["CapDrop"] == ["ALL"], service
            assert not host["CapAdd"], service
            unlabelled = ["label=disable"] if service == "docker-proxy" else []
            assert host["SecurityOpt"] == ["no-new-privileges:true", *unlabelled], service
            assert host["Memory"] > 0, service
            assert host["PidsLimit"] > 0, service
            assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}, service
            assert host["ReadonlyRootfs"] or service == "grafana", service

    # -- the other servers -------------------------------------------------------------------------------

    def prometheus(self, query: str) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{self.ports['PROMETHEUS_PORT']}/api/v1/query"
        return httpx.get(url, params={"query": query}, timeout=10).raise_for_status().json()["data"]["result"]  # type: ignore[no-any-return]

    def alertmanager(self, path: str) -> Any:
        """An answer of Alertmanager's API, which only the stack's own containers reach."""
        url = f"http://localhost:9093/api/v2/{path}"
        return json.loads(self.compose("exec", "-T", "alertmanager", "wget", "-q", "-O", "-", url).stdout)

    def zenml(self, path: str) -> Any:
        """An answer of ZenML's API to its administrator, as the dashboard gets it."""
        url = f"http://127.0.0.1:{self.ports['ZENML_PORT']}/api/v1"
        login = {"username": "admin", "password": self.secrets()["ZENML_ADMIN_PASSWORD"]}
        token = httpx.post(f"{url}/login", data=login, timeout=30).raise_for_status().json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(f"{url}{path}", headers=headers, timeout=30).raise_for_status().json()

    # -- retraining --------------------------------------------------------------------------------------

    def retrain_and(self, *accidents: tuple[str, str]) -> dict[str, Any]:
        """Request a retrain; at each (step, service) kill that service once the step begins; how it ended."""
        request_id = self.request_retrain()
        since = time.time()
        for step, service in accidents:
            self.wait_for_log("train-model", step, since=since)
            if service == "train-model":
                since = time.time()  # the next step is the next run's; it may have begun already where the run goes on
            self.kill(service)
            if service == "inference":
                wait_until("inference serves again", self.is_ready, seconds=30)
        return self.wait_for_end(request_id, seconds=180)
