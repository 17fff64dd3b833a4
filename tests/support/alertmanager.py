"""config/alertmanager/start.sh with this machine's Alertmanager: the shipped files, other paths and shorter times."""

import contextlib
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import yaml

from src.services.local.processes import REPOSITORY, LocalProcess
from tests.support.prometheus_tools import tool_path
from tests.support.running import free_port, running, wait_until

TOKEN = "the-token-of-inference"  # noqa: S105 - the test's own


def compose_variables(given: Mapping[str, str]) -> dict[str, str]:
    """Alertmanager's environment as docker-compose.yml makes it of ``.env``."""
    text = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
    values = yaml.safe_load(text)["services"]["alertmanager"]["environment"]
    defaults = {name: re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", value) for name, value in values.items()}
    assert set(given) <= set(defaults)
    return defaults | {"ALERT_TOKEN": TOKEN} | given


class StartScript:
    """The script in ``folder``; its ``/tmp`` is the folder ``tmp`` in it.

    Args:
        program: what it starts as Alertmanager.
        inference: the base URL of what stands for inference.
    """

    def __init__(self, folder: Path, program: str, inference: str = "http://inference:8000") -> None:
        self.folder = folder
        self.tmp = folder / "tmp"
        self.tmp.mkdir()
        replaced = {
            "/tmp/": f"{self.tmp}/",  # noqa: S108 - the container's
            "/bin/alertmanager": program,
            "--storage.path=/alertmanager": f"--storage.path={folder / 'storage'}",
            "http://inference:8000": inference,
            "group_wait: 10s": "group_wait: 0s",
            "group_interval: 1m": "group_interval: 1s",
        }
        for source in (REPOSITORY / "config/alertmanager").iterdir():
            text = source.read_text(encoding="utf-8")
            for old, new in replaced.items():
                text = text.replace(old, new)
            (folder / source.name).write_text(text, encoding="utf-8")

    def command(self, *arguments: str) -> tuple[str, ...]:
        return ("sh", str(self.folder / "start.sh"), *arguments)

    def run(self, given: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run it to its end, with a program that ends."""
        environment = {"PATH": "/usr/bin:/bin", **compose_variables(given)}
        return subprocess.run(self.command(), env=environment, capture_output=True, text=True, timeout=30, check=False)


@dataclass(frozen=True)
class Alertmanager:
    """A running one."""

    url: str
    pid: int

    def send(self, labels: Mapping[str, str], annotations: Mapping[str, str], *, resolved: bool = False) -> None:
        """An alert that fires since 2026-05-06 07:08:09 UTC, or that has just ended."""
        now = datetime.now(UTC)
        alert = {
            "labels": dict(labels),
            "annotations": dict(annotations),
            "startsAt": "2026-05-06T07:08:09Z",
            "endsAt": (now if resolved else now + timedelta(hours=1)).isoformat(),
        }
        httpx.post(f"{self.url}/api/v2/alerts", json=[alert], timeout=10).raise_for_status()


@contextlib.contextmanager
def running_alertmanager(
    folder: Path, given: Mapping[str, str], *, inference: str = "http://inference:8000"
) -> Iterator[Alertmanager]:
    """Start it with these variables of ``.env``."""
    script = StartScript(folder, tool_path("prometheus-alertmanager"), inference)
    address, log = f"127.0.0.1:{free_port()}", folder / "alertmanager.log"
    process = LocalProcess("alertmanager", script.command(f"--web.listen-address={address}"))
    with running(process, log, **compose_variables(given)) as child:

        def is_ready() -> bool:
            assert child.poll() is None, log.read_text()
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"http://{address}/-/ready", timeout=10).status_code == httpx.codes.OK
            return False

        wait_until("Alertmanager is ready", is_ready, seconds=30)
        yield Alertmanager(f"http://{address}", child.pid)
