"""Checks that MLflow and the ZenML server respond, before heavy libraries are loaded."""

import base64
import http.client
import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

from src.core.errors import ConnectionFailedError
from src.core.model_registry import says_missing, versions_filter

# Logging in costs a hash: seconds on a loaded machine, or where the ZenML image is emulated.
TIMEOUT_SECONDS = 20.0
PAUSE_SECONDS = 0.5
MLFLOW_PATH = "/api/2.0/mlflow/experiments/search?max_results=1"
ALIAS_PATH = "/api/2.0/mlflow/registered-models/alias?"
ARTIFACTS_PATH = "/api/2.0/mlflow-artifacts/artifacts/"
VERSIONS_PATH = "/api/2.0/mlflow/model-versions/search?"
ZENML_PATH = "/api/v1/login"

logger = logging.getLogger(__name__)


def shown(url: str) -> str:
    """The URL without user name and password, for messages."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")


def login_of(url: str) -> tuple[str, str] | None:
    """The user name and password in a URL; None without."""
    parts = urlsplit(url)
    return (unquote(parts.username), unquote(parts.password or "")) if parts.username else None


def probe_mlflow(url: str) -> None:
    """Require a reachable MLflow API; credentials are checked later, by MLflow's own client.

    Raises:
        ConnectionFailedError: nothing responds, or something other than MLflow.
    """
    name, variable = f"MLflow at {shown(url)}", "MLFLOW_TRACKING_URI"
    status, body = _ask(url, MLFLOW_PATH, None, name, variable)
    if status == 403:  # noqa: PLR2004 - HTTP's own number
        raise ConnectionFailedError(f"{name} refuses the request (403); check that its --allowed-hosts names this host")
    if status not in {200, 401} or (status == 200 and not isinstance(_json(body), dict)):  # noqa: PLR2004 - as above
        raise ConnectionFailedError(f"{name} answers {status}, not as MLflow does; check {variable}")


def has_alias(url: str, model_name: str, alias: str) -> bool:
    """Whether a registered model has this alias.

    Raises:
        ConnectionFailedError: MLflow does not respond, or with an error.
    """
    name, variable = f"MLflow at {shown(url)}", "MLFLOW_TRACKING_URI"
    query = urlencode({"name": model_name, "alias": alias})
    status, body = _ask(url, ALIAS_PATH + query, None, name, variable)
    answer = _json(body)
    if status == 200:  # noqa: PLR2004 - HTTP's own number
        return True
    if isinstance(answer, dict) and says_missing(answer.get("error_code"), answer.get("message")):
        return False
    raise ConnectionFailedError(f"{name} answers {status} to a request for the {alias} of {model_name}")


def find_versions(url: str, model_name: str, tag: str, value: str) -> list[dict[str, Any]]:
    """The versions of a registered model with this tag, as in MLflow's REST API, but with ``tags`` as a mapping.

    Raises:
        ConnectionFailedError: MLflow does not respond, or with an error.
    """
    name, variable = f"MLflow at {shown(url)}", "MLFLOW_TRACKING_URI"
    query = urlencode({"filter": f"{versions_filter(model_name)} and tags.`{tag}` = '{value}'"})
    status, body = _ask(url, VERSIONS_PATH + query, None, name, variable)
    answer = _json(body)
    try:
        if status == 200 and isinstance(answer, dict):  # noqa: PLR2004 - HTTP's own number
            return [
                found | {"tags": {item["key"]: item["value"] for item in found["tags"]}}
                for found in answer.get("model_versions", [])
            ]
    except (KeyError, TypeError) as error:
        raise ConnectionFailedError(f"{name} does not list versions of {model_name} as MLflow does") from error
    raise ConnectionFailedError(f"{name} answers {status} to a request for the versions of {model_name}")


def delete_artifacts(url: str, location: str) -> bool:
    """Delete the files at an artifact location, on the server that stores them.

    Returns:
        Whether they were deleted; False where the MLflow server does not store them.

    Raises:
        ConnectionFailedError: MLflow does not respond, or with an error.
    """
    parts = urlsplit(location)
    if parts.scheme != "mlflow-artifacts":
        return False
    name, variable = f"MLflow at {shown(url)}", "MLFLOW_TRACKING_URI"
    status, _ = _ask(url, ARTIFACTS_PATH + quote(parts.path.lstrip("/")), None, name, variable, method="DELETE")
    if status not in {200, 404}:
        raise ConnectionFailedError(f"{name} answers {status} to a request to delete {location}")
    return True


def wait_until_answering(
    probe: Callable[[], None],
    *,
    seconds: float,
    pause: Callable[[float], object] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Repeat a probe for up to ``seconds``, for servers that are still starting.

    Raises:
        ConnectionFailedError: the error of the last attempt.
    """
    deadline = clock() + seconds
    wait = pause or threading.Event().wait
    reason = ""
    while True:
        try:
            return probe()
        except ConnectionFailedError as error:
            if clock() >= deadline:
                raise
            if str(error) != reason:
                reason = str(error)
                logger.info("%s; waiting for it up to %g s", reason, seconds)
        wait(PAUSE_SECONDS)


def probe_zenml(url: str, key: str) -> None:
    """Require a ZenML server that accepts the service account's key.

    Raises:
        ConnectionFailedError: nothing responds, or something other than ZenML, or the key is refused.
    """
    name, variable = f"ZenML server at {shown(url)}", "ZENML_STORE_URL"
    form = urlencode({"grant_type": "zenml-api-key", "password": key}).encode()
    status, body = _ask(url, ZENML_PATH, form, name, variable)
    if status in {401, 403}:
        raise ConnectionFailedError(f"{name} refuses the key ({status}); set ZENML_STORE_API_KEY to a valid one")
    answer = _json(body)
    if status != 200 or not isinstance(answer, dict) or "access_token" not in answer:  # noqa: PLR2004 - HTTP's own number
        raise ConnectionFailedError(f"{name} answers {status}, not as ZenML does; check {variable}")


def _ask(  # noqa: PLR0913 - a request, and the names for an error
    url: str, path: str, form: bytes | None, name: str, variable: str, *, method: str | None = None
) -> tuple[int, bytes]:
    """The status and body of one response."""
    # The settings admit http and https only.
    request = urllib.request.Request(shown(url) + path, data=form, method=method)  # noqa: S310
    if login := login_of(url):
        request.add_header("Authorization", f"Basic {base64.b64encode(':'.join(login).encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - as above
            return answer.status, answer.read(1 << 20)
    except urllib.error.HTTPError as error:
        return error.code, error.read(1 << 20)
    except (OSError, ValueError, http.client.HTTPException) as error:
        why = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise ConnectionFailedError(
            f"{name} cannot be reached ({why}); check that it runs and that {variable} is right"
        ) from error


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return None
