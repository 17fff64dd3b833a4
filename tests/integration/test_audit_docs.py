"""Every command of docs/audit.md is run, as written, against a service, and its answers are those of the page."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from src.core.audit_log import AuditLog, Entry, Event
from src.services.local.processes import REPOSITORY
from tests.support.inference_process import Inference, without_mlflow
from tests.support.readme import on_ports

pytestmark = pytest.mark.integration

PAGE = (REPOSITORY / "docs" / "audit.md").read_text(encoding="utf-8")
LISTING, READING = re.findall(r"^```bash\n(.*?)^```", PAGE, re.DOTALL | re.M)
(LISTED,) = map(json.loads, re.findall(r"^```json\n(.*?)^```", PAGE, re.DOTALL | re.M))


@pytest.fixture(scope="module")
def inference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inference]:
    service = without_mlflow(tmp_path_factory.mktemp("audit"))
    with service.serving():
        yield service


def run(inference: Inference, command: str) -> str:
    script = on_ports(command, {"8000": inference.port}).replace("data-file/", f"{inference.folder}/data/")
    answer = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], env=os.environ, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_entries_are_listed_as_on_the_page_and_are_in_the_file(inference: Inference) -> None:
    (shown,) = LISTED["entries"]
    written = Entry(**shown)
    log = AuditLog(inference.folder / "data" / "audit" / "audit.ndjson")
    log.append(Entry(id="older", event=Event.PROMOTED), written)
    answer: dict[str, Any] = json.loads(run(inference, LISTING))
    assert answer["entries"] == LISTED["entries"]
    assert isinstance(answer["before"], int)
    newest = run(inference, READING).splitlines()[-1]
    assert json.loads(newest) == written.model_dump(mode="json", exclude_none=True)


def test_every_event_is_described() -> None:
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|.*\|.*\|$", PAGE.partition("## Events")[2].partition("## ")[0], re.M)
    assert {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)} - {"event"} == set(Event)


def test_links_of_the_page_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)#\s]+)\)", PAGE)
    assert links
    assert all((REPOSITORY / "docs" / link).exists() for link in links)
