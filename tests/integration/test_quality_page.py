"""Every command of docs/quality.md is run, as written, against a service, and its answers are those of the page."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from src.core.evidence import LABELS_ALPHA
from src.core.feedback import Label
from src.core.gate_config import RolloutConfig
from src.core.retrain_record import new_id
from src.core.rollout_record import Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.services.local.processes import REPOSITORY
from tests.support.inference_process import Inference, without_mlflow
from tests.support.readme import on_ports, title

pytestmark = pytest.mark.integration

PAGE = (REPOSITORY / "docs" / "quality.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"^```bash\n(.*?)^```", PAGE, re.DOTALL | re.M) for line in block.splitlines()]
ACCEPTING, COMPARED, LISTED = map(json.loads, re.findall(r"^```json\n(.*?)^```", PAGE, re.DOTALL | re.M))
SWITCHES = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.M)
(LISTING,) = [command for command in COMMANDS if "/rollouts" in command]
LABELLING = [command for command in COMMANDS[1:] if command != LISTING]
START = datetime(2026, 11, 29, tzinfo=UTC)
# Commands of docs/quality.md with other numbers of accepted labels than 1.
ACCEPTED = {COMMANDS[2]: 2, COMMANDS[3]: 2, COMMANDS[4]: 2}


@pytest.fixture(scope="module")
def inference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inference]:
    service = without_mlflow(tmp_path_factory.mktemp("quality"))
    with service.serving():
        yield service


def run(inference: Inference, command: str) -> Any:
    script = on_ports(command, {"8000": inference.port})
    answer = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], env=os.environ, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def labels(inference: Inference) -> list[Label]:
    paths: list[Path] = sorted((inference.folder / "data" / "quality" / "feedback").glob("*.ndjson"))
    return [Label.model_validate_json(line) for path in paths for line in path.read_bytes().splitlines()]


def test_prediction_has_the_id_of_the_page(inference: Inference) -> None:
    assert run(inference, COMMANDS[0])["request_id"] == "flower-1"


@pytest.mark.parametrize("command", LABELLING, ids=title)
def test_labels_are_accepted_as_the_page_says(inference: Inference, command: str) -> None:
    before = len(labels(inference))
    told, accepted = run(inference, command), ACCEPTED.get(command, 1)
    assert told == {**ACCEPTING, "accepted": accepted}
    assert len(labels(inference)) == before + accepted


def test_promotions_are_listed_as_on_the_page(inference: Inference) -> None:
    (shown,) = LISTED["rollouts"]
    rollouts = Rollouts(inference.folder / "data" / "quality" / "rollouts")
    before = "0199f3b1-0000-7000-8000-000000000000"
    rollouts.begin(
        Rollout(id=before, model=inference.model_name, version="2", previous="1", started=START, until=START)
    )
    rollouts.begin(Rollout(model=inference.model_name, **shown))
    assert run(inference, LISTING) == LISTED
    rollouts.begin(Rollout(model=inference.model_name, **shown | {"comparison": COMPARED, "id": new_id()}))
    assert run(inference, LISTING)["rollouts"][0]["comparison"] == COMPARED
    assert (shown["version"], shown["state"]) == ("3", RolloutState.ROLLED_BACK)
    assert f"by {shown['drop']:.1%} on {shown['rows']:,} labelled rows" in shown["reason"]
    assert f"(evidence {shown['e_value']:,.0f}, needed {1 / LABELS_ALPHA:,.0f})" in shown["reason"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *zip(
            SWITCHES,
            [
                RolloutConfig(minimum_rows=1000),
                RolloutConfig(automatic_rollback=False),
                RolloutConfig(watch_hours=0),
                RolloutConfig(max_slowdown=None),
            ],
            strict=True,
        )
    ],
)
def test_settings_of_the_page_are_valid(text: str, expected: RolloutConfig) -> None:
    assert RolloutConfig(**yaml.safe_load(text)["rollout"]) == expected


def test_links_of_the_page_lead_to_headings_and_files() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", name.lower()).replace(" ", "-") for name in re.findall(r"^#+ (.*)", PAGE, re.M)
    }
    links = re.findall(r"\]\(([^)\s]+)\)", PAGE)
    assert links
    for link in links:
        file, _, heading = link.partition("#")
        assert (REPOSITORY / "docs" / file).exists(), link
        assert file or heading in headings, link
