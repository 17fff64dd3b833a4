"""The state that commit 4ee38d3 has written is served, listed, trained on and rolled back by the present code."""

from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.old_state import OldState
from tests.support.running import wait_until

pytestmark = pytest.mark.integration
CHAMPION = "2"


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OldState]:
    """Inference on the old state."""
    loop = OldState(tmp_path_factory.mktemp("upgrade"))
    with loop.serving():
        yield loop


def test_champion_is_served_from_its_cache_with_the_same_answers(loop: OldState) -> None:
    assert loop.answers()["model"]["version"] == CHAMPION
    assert loop.answers() == loop.expected["answer"]


def test_requests_are_listed_with_their_outcomes(loop: OldState) -> None:
    listed = {answer["id"]: answer for answer in httpx.get(f"{loop.url}/retrain", timeout=5).json()["requests"]}
    assert set(listed) == set(loop.expected["requests"])
    for request_id, record in loop.expected["requests"].items():
        result = record.get("result") or {"outcome": "running" if record["attempts"] else "queued"}
        assert listed[request_id]["state"] == result["outcome"]
        assert listed[request_id].get("reason") == result.get("reason")


def test_drift_is_tested_with_the_old_reference(loop: OldState) -> None:
    flowers = (loop.folder / "data" / "flowers.csv").read_bytes()
    url = f"{loop.url}/predict/batch?extra_columns=ignore"
    httpx.post(url, content=flowers, headers={"Content-Type": "text/csv"}, timeout=30).raise_for_status()

    def drifted() -> set[float]:
        metrics = httpx.get(f"{loop.url}/metrics", timeout=5).text
        families = {family.name: family for family in text_string_to_metric_families(metrics)}
        return {sample.value for sample in families["inference_feature_drifted"].samples}

    wait_until("drift is computed", lambda: drifted() == {0.0}, seconds=15)


def test_waiting_requests_train_against_the_old_champion_which_a_roll_back_restores(loop: OldState) -> None:
    waiting = [key for key, record in loop.expected["requests"].items() if "result" not in record]
    assert len(waiting) == 2
    with loop.training():
        first, second = (loop.wait_for_end(request_id, seconds=300) for request_id in waiting)
        assert (first["state"], second["state"]) == ("promoted", "promoted"), first
        assert first["model_version"] == second["model_version"]
        assert f"champion version {CHAMPION} has" in first["reason"]
        assert f"the training rows of version {CHAMPION}, as stored in ZenML, are left out" in first["reason"]
        loop.wait_for_version(first["model_version"])
        httpx.post(f"{loop.url}/rollback", timeout=30).raise_for_status()
        loop.wait_for_version(CHAMPION)
        assert loop.answers() == loop.expected["answer"]
