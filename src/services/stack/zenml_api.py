"""The calls of the ZenML server's REST API that create a service account and an API key for training."""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from src.services.stack.errors import NoAnswerError, StackError

_TIMEOUT_SECONDS = 30.0
_MAX_BODY_BYTES = 1_000_000
_OK, _UNAUTHORIZED, _NOT_FOUND, _CONFLICT = 200, 401, 404, 409
# Minutes for which a replaced key, and the sessions opened with it, remain valid. At 0, a running training would lose
# its connection. Within an hour it can end, and `docker compose up` passes on the new key.
RETAIN_MINUTES = 60


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: ZenML's API has none, and the password must not be sent to another server."""

    def redirect_request(self, *_: Any) -> None:
        """Do not follow."""


class ZenmlApi:
    """A ZenML server at ``url``: first ``version``, then ``log_in``, then the rest."""

    def __init__(self, url: str) -> None:
        self.url = url
        # Without proxies: the server is on this machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())
        self._token: str | None = None

    def version(self) -> str:
        """The server's version.

        Raises:
            NoAnswerError: nothing answers yet.
            StackError: another server than ZenML answers.
        """
        status, body = self._call("GET", "/info")
        if status != _OK or not {"version", "deployment_type"} <= body.keys():
            raise self._not_zenml()
        return str(body["version"])

    def log_in(self, user: str, password: str) -> None:
        """Open a session as this user.

        Raises:
            StackError: the server refuses the password.
        """
        self._token = self._session({"grant_type": "password", "username": user, "password": password})
        if self._token is None:
            raise StackError(
                f"ZenML refuses the password of {user}: it was set at the first start, and .env has another one now; "
                "set ZENML_ADMIN_PASSWORD in .env to the one that logs in to the dashboard at " + self.url
            )

    def service_account(self, name: str) -> tuple[str, bool]:
        """The id of the service account of this name, and whether it had to be created.

        Raises:
            StackError: it was deactivated.
        """
        path = f"/service_accounts/{urllib.parse.quote(name)}"
        status, body = self._call("GET", path)
        created = status == _NOT_FOUND
        if created:
            request = {"name": name, "active": True, "description": "Runs the training pipeline."}
            status, body = self._call("POST", "/service_accounts", data=request)
        self._expect_ok(status, f"the service account {name}")
        if not body["body"]["active"]:
            raise StackError(
                f"the service account {name} is deactivated; activate it in the dashboard at {self.url} "
                "(Settings, Service Accounts), then run this again"
            )
        return str(body["id"]), created

    def api_key(self, account_id: str, name: str) -> tuple[str, bool]:
        """A new value for the account's API key of this name, and whether the key had to be created.

        Raises:
            StackError: the key was deactivated.
        """
        path = f"/service_accounts/{account_id}/api_keys"
        request: dict[str, Any] = {"name": name, "description": "Made by setup_zenml_api_key.py."}
        status, body = self._call("POST", path, data=request)
        created = status != _CONFLICT
        if not created:
            request = {"retain_period_minutes": RETAIN_MINUTES}
            status, body = self._call("PUT", f"{path}/{urllib.parse.quote(name)}/rotate", data=request)
        self._expect_ok(status, f"the API key {name}")
        if not body["body"]["active"]:
            raise StackError(
                f"the API key {name} is deactivated; activate or delete it in the dashboard at {self.url} "
                "(Settings, Service Accounts), then run this again"
            )
        key = str(body["body"]["key"])
        if not re.fullmatch(r"[A-Za-z0-9+/=_.-]+", key):
            raise StackError(f"the API key {name} contains characters that .env cannot hold; is this ZenML 0.98?")
        return key, created

    def accepts_key(self, key: str) -> bool:
        """Whether a service account's key opens a session."""
        return self._session({"grant_type": "zenml-api-key", "password": key}) is not None

    def _session(self, form: Mapping[str, str]) -> str | None:
        status, body = self._call("POST", "/login", data=urllib.parse.urlencode(form).encode())
        if status == _UNAUTHORIZED:
            return None
        self._expect_ok(status, "a login")
        return str(body["access_token"])

    def _expect_ok(self, status: int, what: str) -> None:
        if status != _OK:
            # Without ZenML's message, which repeats the request.
            raise StackError(f"ZenML answers {status} to a request for {what}; to see why: docker compose logs zenml")

    def _not_zenml(self) -> StackError:
        return StackError(
            f"what answers at {self.url} is not ZenML; stop it, or choose another port in .env, such as ZENML_PORT=8081"
        )

    def _call(
        self, method: str, path: str, *, data: bytes | dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        headers = {"Accept": "application/json"}
        if isinstance(data, dict):
            data = json.dumps(data).encode()
            headers["Content-Type"] = "application/json"
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data, headers, method=method)  # noqa: S310 - http
        try:
            with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                status, raw = response.status, response.read(_MAX_BODY_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                status, raw = error.code, error.read(_MAX_BODY_BYTES)
        except http.client.HTTPException as error:
            raise self._not_zenml() from error
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise NoAnswerError(f"ZenML at {self.url} does not answer ({reason}); docker compose logs zenml") from error
        try:
            body = json.loads(raw)
        except ValueError as error:
            raise self._not_zenml() from error
        if not isinstance(body, dict):
            raise self._not_zenml()
        return status, body
