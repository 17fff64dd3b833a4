import asyncio
import errno
import logging
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from src.core.new_data import NewAmount, write_new_data
from src.core.retrain_record import Outcome, Step
from tests.support.models import SETOSA
from tests.support.trained import SCORES, finish

pytestmark = pytest.mark.anyio


async def test_retrain_is_accepted_durably_with_a_place_to_follow_it(served: Any) -> None:
    answer = await served.client.post("/retrain")
    told = answer.json()
    assert answer.status_code == 202
    assert set(told) == {"id", "state", "submitted_at"}
    assert told["state"] == "queued"
    assert answer.headers["Location"] == f"/retrain/{told['id']}"
    assert (served.service.spool.root / "new" / f"{told['id']}.json").is_file()
    followed = await served.client.get(answer.headers["Location"])
    assert followed.json() == {
        **told,
        "source": "api",
        "started_at": None,
        "attempts": 0,
        "last_error": None,
    }


@pytest.mark.parametrize("source", ["api", "schedule"])
async def test_retrain_says_who_requests_it(served: Any, source: str) -> None:
    answer = await served.client.post("/retrain", params={"source": source})
    assert answer.status_code == 202
    assert (await served.client.get(answer.headers["Location"])).json()["source"] == source


@pytest.mark.parametrize("query", [{"source": "alert"}, {"source": "bootstrap"}, {"source": ""}, {"sources": "api"}])
async def test_retrain_refuses_a_source_that_is_none_of_a_client_s(served: Any, query: dict[str, str]) -> None:
    answer = await served.client.post("/retrain", params=query)
    assert answer.status_code == 422
    assert ("unknown parameter sources" in answer.text) == ("sources" in query)
    assert not served.service.spool.has_waiting()


async def test_retrain_reports_a_skipped_request(served: Any) -> None:
    location = (await served.client.post("/retrain?source=schedule")).headers["Location"]
    finish(served.service.spool, Outcome.SKIPPED, None)
    told = (await served.client.get(location)).json()
    assert told["state"] == told["outcome"] == "skipped"
    assert (told["reason"], told["model_version"]) == ("because", None)
    assert "served" not in told


async def test_retrain_works_without_a_model_and_ignores_a_body(unready: Any) -> None:
    assert (await unready.client.post("/retrain", content=b"\xff not JSON")).status_code == 202


async def test_retrain_refuses_a_body_over_the_limit(served: Any) -> None:
    async def chunks() -> Any:
        for _ in range(3):
            yield b"x" * 500_000

    assert (await served.client.post("/retrain", content=b"x" * 1_000_001)).status_code == 413
    assert (await served.client.post("/retrain", content=chunks())).status_code == 413
    assert not served.service.spool.has_waiting()


async def test_retrain_refuses_when_enough_wait(serving: Any, mlflow: Any, tmp_path: Path) -> None:
    async with serving(tmp_path, mlflow, retrain_max_pending=1) as served:
        assert (await served.client.post("/retrain")).status_code == 202
        answer = await served.client.post("/retrain")
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert "are pending" in answer.json()["detail"]


async def test_retrain_on_a_full_disk_is_507_and_accepts_nothing(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    answer = await served.client.post("/retrain")
    assert answer.status_code == 507
    assert "full" in answer.json()["detail"]
    assert not served.service.spool.has_waiting()


async def test_retrain_without_its_folder_is_503_and_no_lost_request(
    served: Any, caplog: pytest.LogCaptureFixture
) -> None:
    location = (await served.client.post("/retrain")).headers["Location"]
    root = served.service.spool.root
    root.rename(root.with_name("away"))
    for answer in (
        await served.client.post("/retrain"),
        await served.client.get("/retrain"),
        await served.client.get(location),
    ):
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert "check that DATA_DIR is there" in answer.json()["detail"]
        assert answer.json()["request_id"] in caplog.text
    logged = [record for record in caplog.records if "spool" in record.getMessage()]
    assert {(record.levelno, record.exc_info is not None) for record in logged} == {(logging.ERROR, True)}
    root.with_name("away").rename(root)
    assert (await served.client.get(location)).json()["state"] == "queued"


async def test_retrain_without_free_descriptors_is_503_and_no_lost_request(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = (await served.client.post("/retrain")).headers["Location"]

    def none_free(*_: Any) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", none_free)
        answers = [await served.client.get(location), await served.client.post("/retrain")]
    assert [answer.status_code for answer in answers] == [503, 503]
    assert all("Too many open files" in answer.json()["detail"] for answer in answers)
    assert (await served.client.get(location)).json()["state"] == "queued"


async def test_retrain_reports_running_and_its_attempts(served: Any) -> None:
    location = (await served.client.post("/retrain")).headers["Location"]
    spool = served.service.spool
    with spool.lock():
        (record,) = spool.claim()
        spool.update(
            record.model_copy(update={"attempts": 2, "started_at": datetime.now(UTC), "last_error": "it died"})
        )
        spool.update(spool.claimed()[0].at_step(Step.TRAIN).with_progress("search: 12 of 20 trials"))
    told = (await served.client.get(location)).json()
    assert (told["state"], told["attempts"], told["last_error"]) == ("running", 2, "it died")
    assert told["started_at"] is not None
    assert (told["step"], told["progress"]) == ("train", "search: 12 of 20 trials")
    assert "outcome" not in told


async def test_retrain_reports_a_rejection_with_its_scores(served: Any) -> None:
    location = (await served.client.post("/retrain")).headers["Location"]
    finish(served.service.spool, Outcome.REJECTED, "2")
    asked = len(served.mlflow.paths)
    told = (await served.client.get(location)).json()
    assert told["state"] == told["outcome"] == "rejected"
    assert told["reason"] == "because"
    assert told["scores"] == {"challenger": SCORES, "champion": None}
    assert (told["mlflow_run_id"], told["model_version"]) == ("run2", "2")
    assert told["finished_at"] is not None
    assert "served" not in told
    assert len(served.mlflow.paths) == asked, "nothing to catch up with"


async def test_retrain_reported_as_promoted_is_served_by_the_next_prediction(served: Any) -> None:
    location = (await served.client.post("/retrain")).headers["Location"]
    served.mlflow.promote("2")
    finish(served.service.spool, Outcome.PROMOTED, "2")
    assert (await served.client.post("/predict", json=SETOSA)).json()["model"]["version"] == "1"
    told = (await served.client.get(location)).json()
    assert (told["state"], told["served"]) == ("promoted", True)
    assert (await served.client.post("/predict", json=SETOSA)).json()["model"]["version"] == "2"


async def test_first_champion_is_served_once_its_request_is_followed(unready: Any) -> None:
    location = (await unready.client.post("/retrain")).headers["Location"]
    unready.mlflow.promote("1")
    finish(unready.service.spool, Outcome.PROMOTED, "1")
    assert (await unready.client.get(location)).json()["served"] is True


async def test_retrain_promoted_and_rolled_back_since_is_not_served(served: Any) -> None:
    location = (await served.client.post("/retrain")).headers["Location"]
    finish(served.service.spool, Outcome.PROMOTED, "2")
    told = (await served.client.get(location)).json()
    assert (told["state"], told["served"]) == ("promoted", False)


@pytest.mark.parametrize(
    ("served_version", "promoted", "result"),
    [("1", "1", {"name": "wine"}), ("1", "2", {"ago": timedelta(minutes=2)}), ("2", "1", {})],
    ids=["another model", "long ago", "before the served version"],
)
async def test_retrain_that_is_not_served_and_will_not_be_asks_nothing(
    served: Any, served_version: str, promoted: str, result: dict[str, Any]
) -> None:
    served.mlflow.promote(served_version)
    await served.look()
    location = (await served.client.post("/retrain")).headers["Location"]
    finish(served.service.spool, Outcome.PROMOTED, promoted, **result)
    asked = len(served.mlflow.paths)
    told = (await served.client.get(location)).json()
    assert (told["model_name"], told["model_version"], told["served"]) == (result.get("name", "iris"), promoted, False)
    assert len(served.mlflow.paths) == asked, "nothing to catch up with"


@pytest.mark.parametrize(
    "path",
    ["nonsense", "01a20ade-b342-720e-8dcd-41c7943d764b", "..%2f..%2fetc%2fpasswd", "%00", "a" * 5000, "%ff", "x%0Ay"],
)
async def test_retrain_with_an_unknown_id_is_404_without_echo(served: Any, path: str) -> None:
    answer = await served.client.get(f"/retrain/{path}")
    assert answer.status_code == 404
    assert set(answer.json()) == {"detail", "request_id"}
    assert path not in answer.text


async def test_retrain_list_is_newest_first_and_bounded(served: Any) -> None:
    ids = [(await served.client.post("/retrain")).json()["id"] for _ in range(3)]
    told = (await served.client.get("/retrain")).json()["requests"]
    assert [item["id"] for item in told] == ids[::-1]
    bounded = (await served.client.get("/retrain", params={"limit": 2})).json()["requests"]
    assert [item["id"] for item in bounded] == ids[:0:-1]


async def test_retrain_list_says_how_much_is_new(served: Any) -> None:
    assert (await served.client.get("/retrain")).json() == {"requests": [], "amounts": []}
    amount = NewAmount(kind="rows", new=4, needed=10, since="version 7")
    write_new_data(served.service.settings.retrain_dir, served.service.settings.model_name, [amount])
    found = (await served.client.get("/retrain")).json()["amounts"]
    assert found == [{"kind": "rows", "new": 4, "needed": 10, "since": "version 7"}]


@pytest.mark.parametrize("limit", ["0", "101", "-1", "zq7marker", "1.5", "", "1e3"])
async def test_retrain_list_refuses_a_wrong_limit_without_echo(served: Any, limit: str) -> None:
    answer = await served.client.get("/retrain", params={"limit": limit})
    told = answer.json()
    assert answer.status_code == 422
    assert told["detail"][0]["loc"] == ["query", "limit"]
    assert set(told["detail"][0]) == {"loc", "msg", "type"}
    assert "zq7marker" not in answer.text
    assert told["request_id"] == answer.headers["X-Request-ID"]


async def test_retrain_takes_many_at_once(served: Any) -> None:
    answers = await asyncio.gather(*(served.client.post("/retrain") for _ in range(30)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 30
