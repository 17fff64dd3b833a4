"""Requests rollbacks, and decisions about versions that answer as a shadow, from the inference service."""

from http import HTTPStatus

import httpx
from pydantic import SecretStr

from src.core.errors import ConnectionFailedError
from src.core.rollout_record import Rollout

# A rollback waits up to five seconds for the version to be loaded, and MLflow has time-outs of its own.
SECONDS = 60.0
MAX_REASON = 300
REQUEST_ID = "automatic-rollback"
DECISION_ID = "automatic-decision"


class RolloutRequests:
    """Requests ``POST /rollback`` and ``POST /rollouts/{id}/approve`` and ``…/reject``.

    Each raises ConnectionFailedError if the service cannot be reached, or refuses; the message says why.

    Args:
        url: the inference service's.
        key: its key for writing, if it has one.
        transport: replaces the network.
    """

    def __init__(self, url: str, key: SecretStr | None, transport: httpx.BaseTransport | None = None) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._transport = transport

    def roll_back(self, rollout: Rollout, reason: str) -> None:
        """Make the previous version champion again, if the promoted one still is it."""
        query = {"model": rollout.model, "champion": rollout.version, "reason": reason[:MAX_REASON]}
        self._post("rollback", query, REQUEST_ID)

    def approve(self, rollout: Rollout, reason: str) -> None:
        """Make a version champion, or a canary, that has answered its rows as a shadow."""
        self._decide(rollout, "approve", reason)

    def reject(self, rollout: Rollout, reason: str) -> None:
        """Abort a version that is proved worse while it answers as a shadow."""
        self._decide(rollout, "reject", reason)

    def _decide(self, rollout: Rollout, decision: str, reason: str) -> None:
        query = {"automatic": "true", "reason": reason[:MAX_REASON]}
        self._post(f"rollouts/{rollout.id}/{decision}", query, DECISION_ID)

    def _post(self, path: str, query: dict[str, str], request_id: str) -> None:
        headers = {"X-Request-ID": request_id}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key.get_secret_value()}"
        try:
            with httpx.Client(transport=self._transport, timeout=SECONDS, trust_env=False) as client:
                answer = client.post(f"{self._url}/{path}", params=query, headers=headers)
        except httpx.HTTPError as error:
            raise ConnectionFailedError(
                f"the inference service at {self._url} cannot be reached ({type(error).__name__}); check INFERENCE_URL"
            ) from error
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            raise ConnectionFailedError(
                "the inference service refuses the quality service's key; set the same WRITE_API_KEY for both"
            )
        if answer.status_code != HTTPStatus.OK:
            raise ConnectionFailedError(f"the inference service answers {answer.status_code}: {_detail(answer)}")


def _detail(answer: httpx.Response) -> str:
    """The problem in an answer."""
    try:
        return str(answer.json()["detail"])
    except (ValueError, LookupError, TypeError):
        return "no reason given"
