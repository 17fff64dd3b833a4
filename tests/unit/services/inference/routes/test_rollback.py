import asyncio
import dataclasses
import errno
import fcntl
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from src.core.audit_log import Entry, Event
from src.core.file_lock import lock_at_once
from src.core.prediction_log import Role
from src.core.rollout_record import Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.serving.models import alias_moves
from tests.support.fake_mlflow import FakeMlflow
from tests.support.logged import logged
from tests.support.models import SETOSA

pytestmark = pytest.mark.anyio

KEY = "k" * 16
SET_ALIAS = "/api/2.0/mlflow/registered-models/alias"
SET_TAG = "/api/2.0/mlflow/model-versions/set-tag"


@pytest.fixture
def mlflow(mlflow: FakeMlflow) -> FakeMlflow:
    """Version 2 is champion, and 1 was it before."""
    mlflow.aliases |= {"champion": "2", "previous": "1", "challenger": "2"}
    return mlflow


def on(path: str, act: Callable[[], None], *, call: int = 1) -> Callable[[str], None]:
    """Act before the so-many-eth call of a path is answered."""
    seen = 0

    def before(asked: str) -> None:
        nonlocal seen
        seen += asked == path
        if asked == path and seen == call:
            act()

    return before


async def test_rollback_serves_the_previous_champion_at_once(served: Any) -> None:
    answer = await served.client.post("/rollback")
    assert answer.status_code == 200
    assert answer.json() == {"champion": "1", "previous": "2", "served": "1", "last_error": None}
    assert served.mlflow.aliases == {"champion": "1", "previous": "2", "challenger": "2"}
    assert (await served.client.post("/predict", json=SETOSA)).json()["model"]["version"] == "1"


async def test_rollback_is_not_undone_by_the_next_look_and_can_be_taken_back(served: Any) -> None:
    await served.client.post("/rollback")
    await served.look()
    assert served.service.store.current.version.version == "1"
    assert (await served.client.post("/rollback")).json()["served"] == "2"
    assert served.mlflow.aliases == {"champion": "2", "previous": "1", "challenger": "2"}


async def test_rollback_is_recorded_with_the_version_and_in_the_log(
    served: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        await served.client.post("/rollback", headers={"X-Request-ID": "because-of-me"})
    tags = served.mlflow.versions["2"].tags
    assert tags["rollback.to"] == "1"
    assert tags["rollback.by"] == "api, 127.0.0.1, request because-of-me"
    assert tags["rollback.at"].endswith("+00:00")
    assert "pending.previous" not in {**tags, **served.mlflow.versions["1"].tags}
    assert not {"rollback.to", "rollback.by", "rollback.at"} & set(served.mlflow.versions["1"].tags)
    assert "rolled back from version 2 to 1, for api, 127.0.0.1, request because-of-me" in caplog.text


def promoted(served: Any, version: str, previous: str) -> Rollouts:
    """The records of promotions, with one that is watched."""
    rollouts, now = Rollouts(served.service.settings.rollouts_dir), datetime.now(UTC)
    until = now + timedelta(hours=1)
    rollouts.begin(Rollout(model="iris", version=version, previous=previous, started=now, until=until))
    return rollouts


async def test_rollback_ends_the_watch_of_the_promotion(served: Any) -> None:
    rollouts = promoted(served, "2", "1")
    await served.client.post("/rollback", params={"reason": "callers complain"}, headers={"X-Request-ID": "mine"})
    (record,) = rollouts.recent("iris", 5)
    assert record.state is RolloutState.ROLLED_BACK
    assert (record.by, record.reason) == ("api, 127.0.0.1, request mine", "callers complain")


async def test_rollback_of_another_version_leaves_the_watch(served: Any) -> None:
    rollouts = promoted(served, "3", "2")
    assert (await served.client.post("/rollback")).status_code == 200
    assert rollouts.watched("iris") is not None


async def test_rollback_stands_where_it_cannot_be_recorded(served: Any, caplog: pytest.LogCaptureFixture) -> None:
    folder = promoted(served, "2", "1")
    path = served.service.settings.rollouts_dir
    (path / "rollouts.lock").unlink()
    (path / "rollouts.lock").mkdir()
    assert (await served.client.post("/rollback")).json()["served"] == "1"
    assert "cannot record the rollback of version 2" in caplog.text
    assert folder.watched("iris") is not None


async def test_repeated_rollback_ends_a_watch_that_the_first_could_not_end(served: Any) -> None:
    rollouts = promoted(served, "2", "1")
    started = await served.client.post("/rollback", params={"champion": "2"})
    (served.service.settings.rollouts_dir / f"{rollouts.recent('iris', 1)[0].id}.json").unlink()
    assert started.status_code == 200
    rollouts = promoted(served, "2", "1")  # as a process killed before the end of the watch leaves it
    assert (await served.client.post("/rollback", params={"champion": "2"})).status_code == 409
    (record,) = rollouts.recent("iris", 5)
    assert (record.state, record.by) == (RolloutState.ROLLED_BACK, "an earlier rollback")
    assert served.mlflow.aliases["champion"] == "1"


async def test_rollback_that_was_interrupted_ends_its_watch_at_the_next_look(served: Any) -> None:
    rollouts = promoted(served, "2", "1")

    def go_down() -> None:
        served.mlflow.down = True

    served.mlflow.before_answer = on(SET_ALIAS, go_down, call=4)
    assert (await served.client.post("/rollback")).status_code == 503
    served.mlflow.down, served.mlflow.before_answer = False, lambda _: None
    await served.look()
    await served.service.shadowing.look()
    (record,) = rollouts.recent("iris", 5)
    assert (record.state, record.by) == (RolloutState.ROLLED_BACK, "an earlier rollback")


async def test_look_during_a_rollback_leaves_the_watch_to_it(served: Any) -> None:
    rollouts = promoted(served, "2", "1")
    served.mlflow.aliases |= {"champion": "1", "previous": "2"}
    await served.look()
    lock = lock_at_once(served.service.settings.alias_lock)
    assert lock is not None
    await served.service.shadowing.look()
    assert rollouts.watched("iris") is not None
    os.close(lock)
    await served.service.shadowing.look()
    assert rollouts.watched("iris") is None


@pytest.mark.parametrize(
    ("loaded", "champion"), [("1", "2"), ("3", "1")], ids=["not loaded yet", "another version is loaded"]
)
async def test_watch_goes_on_where_its_version_is_champion_or_unknown(
    served: Any, loaded: str, champion: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts = promoted(served, "2", "1")
    current = served.service.store.current
    version = dataclasses.replace(current, version=current.version.model_copy(update={"version": loaded}))
    monkeypatch.setattr(served.service.store, "current", version)
    served.mlflow.aliases["champion"] = champion
    await served.service.shadowing.look()
    assert rollouts.watched("iris") is not None


async def test_refused_rollback_leaves_the_watch_of_another_version(served: Any) -> None:
    rollouts = promoted(served, "3", "2")
    assert (await served.client.post("/rollback", params={"champion": "1"})).status_code == 409
    assert rollouts.watched("iris") is not None


async def test_watched_promotion_is_shadowed_by_the_previous_champion(served: Any) -> None:
    promoted(served, "2", "1")
    await served.service.shadowing.look()
    answer = await served.client.post("/predict", json=SETOSA)
    served.service.metrics.traffic.work_off()
    served.service.log.write()
    found = {segment.header.role: segment for segment in logged(served)}
    assert found[Role.SHADOW].header.version == "1"
    assert [row["id"] for row in found[Role.SHADOW].rows] == [answer.json()["request_id"]]
    assert [row["id"] for row in found[Role.CHAMPION].rows] == [answer.json()["request_id"]]


@pytest.mark.parametrize(
    ("aliases", "says"),
    [
        ({"champion": "2"}, "first champion"),
        ({"champion": "2", "previous": "2"}, "its tag rollback.to names 2"),
        ({"previous": "1"}, "no version is champion"),
    ],
)
async def test_rollback_to_nothing_is_refused_and_changes_nothing(
    served: Any, aliases: dict[str, str], says: str
) -> None:
    served.mlflow.aliases = dict(aliases)
    answer = await served.client.post("/rollback")
    assert answer.status_code == 409
    assert says in answer.json()["detail"]
    assert served.mlflow.aliases == aliases
    assert "rollback.at" not in served.mlflow.versions["2"].tags


async def test_rollback_of_another_model_is_refused(served: Any) -> None:
    answer = await served.client.post("/rollback", params={"model": "churn", "champion": "2"})
    assert (answer.status_code, "serves the model iris" in answer.json()["detail"]) == (409, True)
    assert served.mlflow.aliases["champion"] == "2"
    assert (await served.client.post("/rollback", params={"model": "iris", "champion": "2"})).status_code == 200


async def test_rollback_from_another_champion_than_expected_is_refused(served: Any) -> None:
    answer = await served.client.post("/rollback", params={"champion": "1"})
    assert answer.status_code == 409
    assert "version 2 now" in answer.json()["detail"]
    assert served.mlflow.aliases["champion"] == "2"
    assert (await served.client.post("/rollback", params={"champion": "2"})).status_code == 200


@pytest.mark.parametrize(
    ("parameter", "problem"),
    [
        (
            {"champoin": "2"},
            {"loc": ["query"], "msg": "unknown parameter champoin; GET /docs lists the route's parameters"},
        ),
        (
            {"champion": "zq7marker"},
            {"loc": ["query", "champion"], "msg": "String should match pattern '^[0-9]{1,18}$'"},
        ),
    ],
)
async def test_rollback_on_a_wrong_condition_is_refused_without_repeating_it(
    served: Any, parameter: dict[str, str], problem: dict[str, Any]
) -> None:
    answer = await served.client.post("/rollback", params=parameter)
    assert answer.status_code == 422
    (found,) = answer.json()["detail"]
    assert {name: found[name] for name in problem} == problem
    assert served.mlflow.aliases["champion"] == "2"


async def test_two_rollbacks_at_once_go_back_once(served: Any) -> None:
    answers = await asyncio.gather(*(served.client.post("/rollback") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    assert served.mlflow.aliases["champion"] == "1"


async def test_rollback_while_a_training_moves_the_aliases_is_refused(served: Any) -> None:
    lock: Path = served.service.spool.root / "aliases.lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        answer = await served.client.post("/rollback")
        assert answer.status_code == 409
        assert "another promotion or rollback is in progress" in answer.json()["detail"]
    assert (await served.client.post("/rollback")).status_code == 200


async def test_rollback_without_mlflow_is_503_and_serving_goes_on(served: Any) -> None:
    served.mlflow.down = True
    answer = await served.client.post("/rollback")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "MLflow" in answer.json()["detail"]
    served.mlflow.down = False
    assert served.mlflow.aliases["champion"] == "2"
    assert (await served.client.post("/predict", json=SETOSA)).json()["model"]["version"] == "2"
    assert (await served.client.post("/rollback")).status_code == 200  # the lock is free again


async def test_rollback_that_mlflow_refuses_before_the_first_move_changes_nothing(served: Any) -> None:
    served.mlflow.override[SET_TAG] = httpx.Response(500, text="oops")
    assert (await served.client.post("/rollback")).status_code == 503
    assert served.mlflow.aliases["champion"] == "2"


async def test_interrupted_rollback_says_what_is_done_and_is_completed_by_the_next(served: Any) -> None:
    def go_down() -> None:
        served.mlflow.down = True

    # Read, read, move champion, and then there is no MLflow to move previous.
    served.mlflow.before_answer = on(SET_ALIAS, go_down, call=4)
    answer = await served.client.post("/rollback")
    assert answer.status_code == 503
    assert "version 1 is champion again, but the alias previous may or may not point to 2" in answer.json()["detail"]
    assert served.mlflow.aliases == {"champion": "1", "previous": "1", "challenger": "2"}
    served.mlflow.down, served.mlflow.before_answer = False, lambda _: None
    again = await served.client.post("/rollback")
    assert again.status_code == 409
    told = "an interrupted promotion or rollback was completed: version 1 is champion and 2 is previous"
    assert told in again.json()["detail"]
    assert served.mlflow.aliases == {"champion": "1", "previous": "2", "challenger": "2"}
    assert "pending.previous" not in served.mlflow.versions["1"].tags
    assert (await served.client.post("/rollback")).json()["champion"] == "2"


@pytest.mark.parametrize("number", range(1, 9))
async def test_rollback_interrupted_at_any_change_leaves_a_pair_that_is_whole_or_known(
    served: Any, number: int
) -> None:
    asked = 0

    def go_down(_: str) -> None:
        nonlocal asked
        asked += 1
        # The first two calls read the aliases.
        served.mlflow.down = asked >= number + 2

    served.mlflow.before_answer = go_down
    status = (await served.client.post("/rollback")).status_code
    champion = served.mlflow.aliases["champion"]
    # Four tags, two aliases, and the tag that says that the pair is moving.
    assert (status, champion) == ((503, "2") if number <= 5 else (503, "1") if number <= 7 else (200, "1"))
    tags = served.mlflow.versions[champion].tags
    pair = champion, tags.get("pending.previous", served.mlflow.aliases["previous"])
    assert pair in {("2", "1"), ("1", "2")}


async def test_rollback_that_mlflow_does_and_does_not_answer_is_reported_followed_and_can_be_fixed(served: Any) -> None:
    def do_it_silently() -> None:
        served.mlflow.promote("1")
        raise httpx.ReadTimeout("no answer")

    served.mlflow.before_answer = on(SET_ALIAS, do_it_silently, call=3)
    looked = served.service.store._next_look_ended  # noqa: SLF001 - nothing else tells of a look that nobody waits for
    answer = await served.client.post("/rollback")
    assert answer.status_code == 503
    assert "version 1 may or may not be champion again in place of 2" in answer.json()["detail"]
    assert "Check which version is champion" in answer.json()["detail"]
    await asyncio.wait_for(looked.wait(), 20)
    assert served.service.store.current.version.version == "1"
    again = await served.client.post("/rollback", params={"champion": "2"})
    assert again.status_code == 409
    assert "version 1 is champion and 2 is previous" in again.json()["detail"]
    assert served.mlflow.aliases == {"champion": "1", "previous": "2", "challenger": "2"}
    assert served.mlflow.versions["2"].tags["rollback.to"] == "1"


async def test_rollback_to_a_version_that_cannot_be_served_says_so_and_keeps_serving(served: Any) -> None:
    served.mlflow.aliases["previous"] = "3"
    told = (await served.client.post("/rollback")).json()
    assert (told["champion"], told["served"]) == ("3", "2")
    assert "version 3 cannot be served" in told["last_error"]


async def test_rollback_without_the_volume_is_503_and_changes_nothing(served: Any) -> None:
    (served.service.spool.root / "aliases.lock").mkdir()
    answer = await served.client.post("/rollback")
    assert answer.status_code == 503
    assert "nothing was changed" in answer.json()["detail"]
    assert served.mlflow.aliases["champion"] == "2"


async def test_rollback_on_a_volume_that_cannot_lock_is_503_and_changes_nothing(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    answer = await served.client.post("/rollback")
    assert answer.status_code == 503
    assert "(No locks available); nothing was changed" in answer.json()["detail"]
    assert served.mlflow.aliases["champion"] == "2"


@dataclass
class SlowVolume:
    """A volume whose lock file opens once ``may_open`` is set; records the threads that open it."""

    may_open: threading.Event = field(default_factory=threading.Event)
    opening: threading.Event = field(default_factory=threading.Event)
    threads: set[int] = field(default_factory=set)

    def lock(self, file: Path) -> int | None:
        self.threads.add(threading.get_ident())
        self.opening.set()
        assert self.may_open.wait(30)
        return lock_at_once(file)


@pytest.fixture
def slow_volume(monkeypatch: pytest.MonkeyPatch) -> SlowVolume:
    volume = SlowVolume()
    monkeypatch.setattr(alias_moves, "lock_at_once", volume.lock)
    return volume


async def test_slow_volume_does_not_block_the_event_loop(served: Any, slow_volume: SlowVolume) -> None:
    asked = asyncio.create_task(served.client.post("/rollback"))
    await asyncio.to_thread(slow_volume.opening.wait, 30)
    assert (await served.client.post("/predict", json=SETOSA)).status_code == 200
    slow_volume.may_open.set()
    assert (await asked).status_code == 200
    assert threading.get_ident() not in slow_volume.threads


async def test_rollback_that_is_cancelled_while_the_lock_opens_leaves_it_free(
    served: Any, slow_volume: SlowVolume
) -> None:
    asked = asyncio.create_task(served.service.rollback.run(by="a test"))
    await asyncio.to_thread(slow_volume.opening.wait, 30)
    asked.cancel()
    await asyncio.sleep(0)
    slow_volume.may_open.set()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert served.mlflow.aliases["champion"] == "2"
    assert (await served.client.post("/rollback")).status_code == 200


async def test_rollback_is_guarded_as_retrain_is(serving: Any, mlflow: FakeMlflow, tmp_path: Path) -> None:
    async with serving(tmp_path, mlflow, write_api_key=KEY) as served:
        assert (await served.client.post("/rollback")).status_code == 401
        foreign = {"Sec-Fetch-Site": "cross-site", "Authorization": f"Bearer {KEY}"}
        assert (await served.client.post("/rollback", headers=foreign)).status_code == 403
        assert mlflow.aliases["champion"] == "2"
        answer = await served.client.post("/rollback", headers={"Authorization": f"Bearer {KEY}"})
        assert answer.status_code == 200
        for status, count in (("200", 1), ("401", 1), ("403", 1), ("409", 0), ("503", 0)):
            labels = {"route": "/rollback", "method": "POST", "status": status}
            assert await served.metric("inference_http_requests_total", **labels) == count
        document = (await served.client.get("/openapi.json")).json()["paths"]["/rollback"]["post"]
    assert document["security"] == [{"WriteKey": []}]
    assert {"200", "401", "403", "409", "503"} <= document["responses"].keys()


async def test_rollback_refuses_a_body_over_the_limit(served: Any) -> None:
    assert (await served.client.post("/rollback", content=b"x" * 1_000_001)).status_code == 413
    assert served.mlflow.aliases["champion"] == "2"


def audited(served: Any) -> list[Entry]:
    return list(served.service.audit.recent(10).entries)


async def test_rollbacks_and_the_ends_of_watches_are_in_the_audit_log(served: Any) -> None:
    promoted(served, "2", "1")
    await served.client.post("/rollback", params={"reason": "callers complain"}, headers={"X-Request-ID": "mine"})
    await served.client.post("/rollback", headers={"X-Request-ID": "back"})
    by = "api, 127.0.0.1, request "
    returned, ended, rolled_back = audited(served)
    assert rolled_back.model_dump(exclude={"id", "at"}, exclude_none=True) == {
        "event": Event.ROLLED_BACK,
        "model": "iris",
        "version": "2",
        "previous": "1",
        "by": f"{by}mine",
        "reason": "callers complain",
    }
    assert (ended.event, ended.version, ended.outcome) == (Event.WATCH_ENDED, "2", "rolled_back")
    assert (ended.by, ended.reason) == (f"{by}mine", "callers complain")
    assert (returned.event, returned.version, returned.previous) == (Event.ROLLED_BACK, "1", "2")
    assert (returned.by, returned.reason) == (f"{by}back", "requested")


async def test_an_unfinished_rollback_is_in_the_audit_log(served: Any) -> None:
    def go_down() -> None:
        served.mlflow.down = True

    served.mlflow.before_answer = on(SET_ALIAS, go_down, call=4)
    await served.client.post("/rollback", params={"reason": "callers complain"})
    (entry,) = audited(served)
    assert (entry.event, entry.version, entry.previous) == (Event.ROLLBACK_UNFINISHED, "2", "1")
    assert (entry.reason or "").startswith("callers complain; version 1 is champion again, but the alias previous may")


async def test_a_refused_rollback_is_not_in_the_audit_log(served: Any) -> None:
    assert (await served.client.post("/rollback", params={"champion": "1"})).status_code == 409
    assert audited(served) == []


async def test_a_rollback_succeeds_and_is_counted_although_the_audit_log_cannot_be_written(served: Any) -> None:
    file = served.service.settings.audit_file
    file.parent.parent.mkdir(parents=True, exist_ok=True)
    file.parent.write_text("in the folder's place")
    assert await served.metric("inference_audit_failures_total") == 0
    assert (await served.client.post("/rollback")).json()["served"] == "1"
    assert await served.metric("inference_audit_failures_total") == 1
