"""Prometheus' and Alertmanager's own tools, in the images that run in the stack."""

import subprocess

import yaml

from src.services.local.processes import REPOSITORY

CONFIG = REPOSITORY / "config"


def image(service: str) -> str:
    return str(yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"][service]["image"])


def run_tool(service: str, tool: str, *arguments: str, given: str | None = None) -> str:
    """What a tool says that must succeed; the repository's configuration is its ``/config``."""
    command = ["docker", "run", "--rm", "--interactive", "--network=none", f"--volume={CONFIG}:/config:ro"]
    command += [f"--entrypoint={tool}", image(service), *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
