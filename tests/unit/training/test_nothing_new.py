"""Whether there is anything new to learn from, with a fake registry."""

import json
import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from src.core.errors import ConnectionFailedError, DataError
from src.core.training_settings import TrainSettings
from src.training.fingerprint import fingerprint_of
from src.training.nothing_new import nothing_new
from tests.support.http_server import serving
from tests.support.running import free_port
from tests.support.training import config

NAME = "iris"
# 2026-11-28 12:00:00 UTC
TRAINED_MS = 1_795_867_200_000


class Registry:
    """An MLflow with a champion and some versions, which it finds by their fingerprint."""

    def __init__(self) -> None:
        self.champion, self.status, self.versions = True, 200, {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, answer = outer.answer(urlsplit(self.path).path, parse_qs(urlsplit(self.path).query))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, *_: object) -> None:  # type: ignore[override]
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        match path.removeprefix("/api/2.0/mlflow/"):
            case "experiments/search":
                return 200, {}
            case "registered-models/alias":
                assert query == {"name": [NAME], "alias": ["champion"]}
                missing = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "not found"}
                return (200, {}) if self.champion else (404, missing)
            case "model-versions/search":
                found = [
                    {"version": version, "creation_timestamp": TRAINED_MS, "tags": tags_of(tags)}
                    for version, tags in self.versions.items()
                    if query["filter"]
                    == [f"name = \"{NAME}\" and tags.`training.fingerprint` = '{tags['training.fingerprint']}'"]
                ]
                return self.status, {"model_versions": found} if found else {}
        raise AssertionError(f"asked for {path}")


def tags_of(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]


@pytest.fixture
def registry() -> Iterator[Registry]:
    fake = Registry()
    with serving(fake.server):
        yield fake


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "train_model.py").write_text("ESTIMATOR = 1\n")
    return tmp_path


def look(port: int, code: Path, data: str = "d1", **settings: Any) -> str | None:
    given = {"mlflow_tracking_uri": f"http://127.0.0.1:{port}", "server_patience_seconds": 0.0, **settings}
    chosen = TrainSettings(_env_file=None, **given)

    def hash_data(*given: object) -> str:
        assert given == (chosen, config().dataset)
        return data

    return nothing_new(hash_data, code, chosen, config())


def version(code: Path, data: str = "d1", **tags: str) -> dict[str, str]:
    return {"training.fingerprint": fingerprint_of(data, config(), code), **tags}


@pytest.mark.parametrize("verdict", ["promoted", "rejected"])
def test_version_with_the_same_fingerprint_is_the_reason(registry: Registry, code: Path, verdict: str) -> None:
    registry.versions["3"] = version(code, **{"gate.verdict": verdict})
    assert look(registry.server.server_port, code) == (
        f"nothing new to learn from since version 3 ({verdict}, trained 2026-11-28 12:00 UTC): "
        "same data, settings, code and packages"
    )


def test_version_that_passed_and_awaits_approval_is_a_reason_that_says_so(registry: Registry, code: Path) -> None:
    registry.versions["3"] = version(code, **{"gate.verdict": "passed"})
    assert look(registry.server.server_port, code) == (
        "nothing new to learn from since version 3 (passed the gate, GET /rollouts says whether it still awaits "
        "approval, trained 2026-11-28 12:00 UTC): same data, settings, code and packages"
    )


def test_newest_such_version_is_named_and_a_roll_back_of_it(registry: Registry, code: Path) -> None:
    registry.versions["9"] = version(code, **{"gate.verdict": "rejected"})
    registry.versions["10"] = version(code, **{"gate.verdict": "promoted", "rollback.at": "2026-11-28T13:00:00+00:00"})
    registry.versions["11"] = version(code)  # its run died before the verdict
    reason = look(registry.server.server_port, code)
    assert reason is not None
    assert "since version 10 (rolled back, trained" in reason


def test_other_data_or_code_or_a_run_without_a_verdict_is_no_reason(registry: Registry, code: Path) -> None:
    registry.versions["3"] = version(code)
    assert look(registry.server.server_port, code) is None
    registry.versions["3"]["gate.verdict"] = "promoted"
    assert look(registry.server.server_port, code) is not None
    assert look(registry.server.server_port, code, data="d2") is None
    (code / "train_model.py").write_text("ESTIMATOR = 2\n")
    assert look(registry.server.server_port, code) is None


def test_without_a_champion_there_is_always_something_to_learn(registry: Registry, code: Path) -> None:
    registry.versions["3"] = version(code, **{"gate.verdict": "promoted"})
    registry.champion = False
    assert look(registry.server.server_port, code) is None


def test_registry_that_does_not_list_versions_is_no_reason(
    registry: Registry, code: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    registry.versions["3"] = version(code, **{"gate.verdict": "promoted"})
    registry.status = 500
    assert look(registry.server.server_port, code) is None
    assert "cannot find out whether the data or settings have changed" in caplog.messages[-1]
    assert "answers 500 to a request for the versions of iris" in caplog.messages[-1]


def test_unreachable_mlflow_fails_the_run_before_the_data_are_read(code: Path) -> None:
    with pytest.raises(ConnectionFailedError, match="cannot be reached"):
        look(free_port(), code, data="never")


def test_bad_data_fail_the_run(registry: Registry, code: Path) -> None:
    def hash_data(*_: object) -> str:
        raise DataError("bad rows")

    url = f"http://127.0.0.1:{registry.server.server_port}"
    with pytest.raises(DataError, match="bad rows"):
        nothing_new(hash_data, code, TrainSettings(_env_file=None, mlflow_tracking_uri=url), config())
