"""The OpenAPI document at its word: Schemathesis makes a thousand requests from it, and every answer is documented."""

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.inference_process import without_mlflow

pytestmark = pytest.mark.integration

# What a schema cannot say makes a request wrong as well: the lines of a CSV, a header that counts bytes of the body.
EXCLUDED = "positive_data_acceptance"
# It needs MLflow; tests/integration/test_inference.py has one.
ELSEWHERE = "/rollback"
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


def test_every_answer_is_documented(tmp_path: Path) -> None:
    inference = without_mlflow(tmp_path)
    with inference.serving(LOG_LEVEL="ERROR"):
        told = subprocess.run(
            (
                *(SCHEMATHESIS, "run", f"{inference.url}/openapi.json", "--no-color"),
                *("--max-examples", "60", "--seed", "1", "--exclude-checks", EXCLUDED),
                *("--exclude-path", ELSEWHERE),
            ),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        metrics = httpx.get(f"{inference.url}/metrics").text
    assert told.returncode == 0, told.stdout
    cases = re.search(r"(\d+) generated", told.stdout)
    assert cases
    assert int(cases[1]) >= 1000
    assert not re.findall(r'(?m)^inference_http_requests_total{.*status="5..".*} (?!0\.0$).*', metrics)
    assert inference.log() == ""
