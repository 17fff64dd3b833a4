"""Runs a real Prometheus with this repository's jobs and alerts against the targets of a test."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from src.services.local.processes import REPOSITORY, LocalProcess
from tests.support.running import free_port, running, wait_until

SCRAPE = "200ms"


class Prometheus:
    """A client of its HTTP API, which sends what Grafana sends."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def ask(self, path: str, **parameters: str | float) -> Any:
        """The data of a response; fails with Prometheus' own message."""
        answer = self._client.get(f"/api/v1/{path}", params=parameters).json()
        assert answer["status"] == "success", f"{answer['error']}: {parameters}"
        return answer["data"]

    def is_ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return self._client.get("/-/ready").is_success
        return False

    def wait_for(self, query: str, *, seconds: float = 60) -> None:
        """Wait until the query has a result."""
        wait_until(query, lambda: self.ask("query", query=query)["result"], seconds=seconds)


def configuration(targets: Mapping[str, str]) -> dict[str, Any]:
    """The repository's configuration with only these jobs, these targets, and short intervals."""
    content = yaml.safe_load((REPOSITORY / "config/prometheus.yml").read_text(encoding="utf-8"))
    jobs = {job["job_name"]: job for job in content["scrape_configs"]}
    assert set(targets) <= set(jobs)
    scrapes = [
        {"job_name": name, "scrape_timeout": SCRAPE, "static_configs": [{"targets": [target]}]}
        for name, target in targets.items()
    ]
    return {
        "global": {"scrape_interval": SCRAPE, "evaluation_interval": SCRAPE},
        "scrape_configs": scrapes,
        "rule_files": content["rule_files"],
    }


def impatient_rules() -> dict[str, Any]:
    """The repository's alerts without their waiting times."""
    rules: dict[str, Any] = yaml.safe_load((REPOSITORY / "config/alerts.yml").read_text(encoding="utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
    return rules


@contextlib.contextmanager
def running_prometheus(binary: str, folder: Path, targets: Mapping[str, str]) -> Iterator[Prometheus]:
    """Scrape these addresses, given by job; the job ``prometheus`` is added.

    Args:
        binary: the program, see ``tool_path``.
        folder: of its data and its log; must exist.
    """
    address = f"127.0.0.1:{free_port()}"
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump(configuration({**targets, "prometheus": address})))
    (folder / "alerts.yml").write_text(yaml.safe_dump(impatient_rules()))
    options = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}"]
    command = (binary, *options, "--log.level=warn")
    log = folder / "prometheus.log"
    with (
        running(LocalProcess("prometheus", command), log) as child,
        httpx.Client(base_url=f"http://{address}", timeout=20) as client,
    ):
        prometheus = Prometheus(client)
        wait_until("Prometheus answers", lambda: prometheus.is_ready() or child.poll() is not None)
        assert child.poll() is None, log.read_text()
        yield prometheus
