"""The requests for rollbacks and decisions: what is sent, and what each answer means."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from pydantic import SecretStr

from src.core.errors import ConnectionFailedError
from src.core.rollout_record import Rollout
from src.services.quality.rollout_requests import RolloutRequests

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
ROLLOUT = Rollout(model="iris", version="3", previous="2", started=NOW, until=NOW + timedelta(hours=1))
Answer = Callable[[httpx.Request], httpx.Response]


def asking(answer: Answer, key: str | None = None) -> RolloutRequests:
    secret = None if key is None else SecretStr(key)
    return RolloutRequests("http://inference:8000/", secret, httpx.MockTransport(answer))


def test_the_promoted_version_is_rolled_back_with_the_reason_and_the_key() -> None:
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json={"champion": "2"})

    asking(answer, "k" * 16).roll_back(ROLLOUT, "r" * 400)
    (request,) = sent
    assert (request.method, str(request.url.copy_with(query=None))) == ("POST", "http://inference:8000/rollback")
    assert dict(request.url.params) == {"model": "iris", "champion": "3", "reason": "r" * 300}
    assert request.headers["authorization"] == f"Bearer {'k' * 16}"
    assert request.headers["x-request-id"] == "automatic-rollback"


def test_without_a_key_none_is_sent() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert "authorization" not in request.headers
        return httpx.Response(200)

    asking(answer).roll_back(ROLLOUT, "it is worse")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (httpx.Response(401, json={"detail": "no"}), "set the same WRITE_API_KEY for both"),
        (httpx.Response(409, json={"detail": "the champion is version 4 now"}), "409: the champion is version 4 now"),
        (httpx.Response(502, text="bad gateway"), "502: no reason given"),
        (httpx.Response(500, json=["odd"]), "500: no reason given"),
    ],
)
def test_a_refusal_says_why(answer: httpx.Response, problem: str) -> None:
    with pytest.raises(ConnectionFailedError, match=problem):
        asking(lambda _: answer).roll_back(ROLLOUT, "it is worse")


def test_a_service_that_is_away_is_named_without_the_key() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(
        ConnectionFailedError, match=r"http://inference:8000 cannot be reached .*INFERENCE_URL"
    ) as found:
        asking(refuse, "k" * 16).roll_back(ROLLOUT, "it is worse")
    assert "kkkk" not in str(found.value)


@pytest.mark.parametrize("way", ["approve", "reject"])
def test_a_decision_names_the_record_and_is_automatic(way: str) -> None:
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200)

    getattr(asking(answer, "k" * 16), way)(ROLLOUT, "r" * 400)
    (request,) = sent
    url = f"http://inference:8000/rollouts/{ROLLOUT.id}/{way}"
    assert (request.method, str(request.url.copy_with(query=None))) == ("POST", url)
    assert dict(request.url.params) == {"automatic": "true", "reason": "r" * 300}
    assert request.headers["authorization"] == f"Bearer {'k' * 16}"
    assert request.headers["x-request-id"] == "automatic-decision"
