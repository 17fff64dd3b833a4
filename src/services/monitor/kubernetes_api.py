"""Calls the Kubernetes API from inside a pod, with the pod's service account.

Three calls do not need a client library: the REST API, the files of a service account and their rotation are documented
(https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests

from src.core.errors import ConfigError, ConnectionFailedError

API_URL = "https://kubernetes.default.svc"
# Mounted into each pod that has a service account: token, ca.crt and namespace.
ACCOUNT_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT_SECONDS = 10.0

# An object of the API, as JSON.
KubernetesObject = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """An answer of the API: an object, or with a status of 400 and above a ``Status``; and its warning, if any."""

    status: int
    body: KubernetesObject
    warning: str | None

    @property
    def is_error(self) -> bool:
        """Whether the API has refused the call."""
        return self.status >= HTTPStatus.BAD_REQUEST

    @property
    def reason(self) -> str:
        """Why it was refused, in one word such as ``AlreadyExists``; empty where the API does not say."""
        return str(self.body.get("reason", "")) if self.is_error else ""

    def __str__(self) -> str:
        """Status and message, for logs."""
        return f"Kubernetes answers {self.status}: {' '.join(str(self.body.get('message', '')).split())[:300]}"


class KubernetesApi:
    """The API's objects in the pod's own namespace.

    Args:
        url: the API server.
        account: the folder of the service account's files.
        timeout: in seconds, of connecting and of each wait for bytes.

    Raises:
        ConfigError: the folder has no namespace, as outside a pod.
    """

    def __init__(self, url: str = API_URL, account: Path = ACCOUNT_FOLDER, timeout: float = TIMEOUT_SECONDS) -> None:
        self._url, self._account, self._timeout = url, account, timeout
        try:
            self.namespace = (account / "namespace").read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(
                f"TRAIN_JOB needs the service account of a Kubernetes pod ({error}); unset TRAIN_JOB elsewhere"
            ) from error
        self._session = requests.Session()
        self._session.trust_env = False  # without the environment's proxies
        self._session.verify = str(account / "ca.crt")

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """Send one request.

        Args:
            method: of HTTP.
            path: below ``/apis/batch/v1/namespaces/<namespace>/``, such as ``jobs/train-model``.
            body: sent as JSON.

        Raises:
            ConnectionFailedError: there is no answer, or it is not JSON: whether the call had an effect is unknown.
        """
        try:
            # Read anew each time: Kubernetes replaces the token before it expires, after an hour.
            token = (self._account / "token").read_text(encoding="utf-8").strip()
            response = self._session.request(
                method,
                f"{self._url}/apis/batch/v1/namespaces/{self.namespace}/{path}",
                json=body,
                headers={"Authorization": f"Bearer {token}"},
                timeout=self._timeout,
                allow_redirects=False,
            )
            content = response.json()
        except (OSError, requests.RequestException) as error:
            raise ConnectionFailedError(
                f"cannot reach the Kubernetes API at {self._url} ({type(error).__name__})"
            ) from error
        warning = response.headers.get("Warning")
        return Answer(response.status_code, content if isinstance(content, dict) else {}, warning)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()
