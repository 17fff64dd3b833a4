"""The settings and commands of docs/canary.md work as written."""

import os
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from src.core.canary_config import CanaryConfig
from src.core.gate_config import RolloutConfig
from src.core.rollout_record import Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.services.local.processes import REPOSITORY
from tests.support.inference_process import without_mlflow
from tests.support.readme import on_ports

pytestmark = pytest.mark.integration

PAGE = (REPOSITORY / "docs" / "canary.md").read_text(encoding="utf-8")


def test_settings_of_the_page_are_valid() -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.M)
    canary = RolloutConfig(**yaml.safe_load(text)["rollout"]).canary
    assert canary == CanaryConfig(share=0.05, hours=72, key_header="x-customer", max_drop=0.02, minimum_rows=1000)


def test_command_of_the_page_asks_to_promote_the_newest_version(tmp_path: Path) -> None:
    service, now = without_mlflow(tmp_path), datetime.now(UTC)
    (script,) = re.findall(r"^```bash\n(.*?)^```", PAGE, re.DOTALL | re.M)
    with service.serving():
        rollouts = Rollouts(service.folder / "data" / "quality" / "rollouts")
        rollouts.begin(
            Rollout(
                model=service.model_name,
                version="2",
                previous="1",
                state=RolloutState.CANARY,
                started=now,
                until=now + timedelta(hours=1),
                canary=CanaryConfig(share=0.05),
            )
        )
        command = on_ports(script, {"8000": service.port})
        answer = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command], env=os.environ, capture_output=True, text=True, check=False
        )
    # Of a request that is understood, only the missing MLflow is in the way.
    assert "error: 503" in answer.stderr, answer.stdout
