"""The tables of docs/security.md, and actions on the stack, sent with and without a credential."""

import re
import ssl
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from src.services.local.processes import REPOSITORY
from tests.support.inference_client import FLOWER
from tests.support.stack import Stack

PAGE = REPOSITORY / "docs" / "security.md"
FOREIGN_HOST = "evil.example"
# What a browser adds to a request that a page of another site makes.
FOREIGN_PAGE = {"Origin": f"http://{FOREIGN_HOST}", "Sec-Fetch-Site": "cross-site"}

Headers = Mapping[str, str]


def table(section: str) -> dict[str, dict[str, str]]:
    """The first table below a heading of the page: cells by the text of the first column, then by column heading."""
    text = PAGE.read_text(encoding="utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    header, _, *body = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in body}


def names(cell: str) -> set[str]:
    """The names in a cell, which commas separate; or none."""
    return set() if cell == "none" else set(cell.split(", "))


def is_off(answer: httpx.Response) -> bool:
    """Whether a server says that it does not do this."""
    return answer.is_error and re.search("not enabled|to be enabled|disabled|not found", answer.text) is not None


@dataclass(frozen=True)
class Sender:
    """Sends to the stack's ports at one address of this machine, with these headers."""

    stack: Stack
    host: str
    headers: Headers = field(default_factory=dict)

    def url(self, server: str) -> str:
        return f"http://{self.host}:{self.stack.ports[f'{server.upper()}_PORT']}"

    def send(self, method: str, server: str, path: str, headers: Headers, **content: Any) -> httpx.Response:
        sent = {**self.headers, **headers}
        return httpx.request(method, f"{self.url(server)}{path}", headers=sent, timeout=20, **content)


@dataclass(frozen=True)
class TlsSender(Sender):
    """Sends to the TLS ports, whose numbers are ``ports``; ``trust`` verifies the certificate."""

    ports: Mapping[str, int] = field(default_factory=dict)
    trust: ssl.SSLContext | None = None

    def url(self, server: str) -> str:
        return f"https://{self.host}:{self.ports[server]}"

    def send(self, method: str, server: str, path: str, headers: Headers, **content: Any) -> httpx.Response:
        return super().send(method, server, path, headers, verify=self.trust, **content)


@dataclass(frozen=True)
class Action:
    """One request, or several that stand for the same action.

    Attributes:
        method: of HTTP.
        server: the service.
        paths: each is sent.
        content: arguments for httpx.
        credential: the word for it in the table, and its headers; None if there is none.
    """

    method: str
    server: str
    paths: tuple[str, ...]
    content: Mapping[str, Any] = field(default_factory=dict)
    credential: tuple[str, Callable[[Stack], Headers]] | None = None

    def as_program(self, sender: Sender) -> str:
        """The word of the table for a program with the credential."""
        try:
            answers = self._send(sender)
        except httpx.ConnectError:
            return "no port"
        if all(answer.is_success for answer in answers):
            return "open"
        if all(is_off(answer) for answer in answers):
            return "off"
        if self.credential is None:
            return "refused" if {answer.status_code for answer in answers} == {403} else answers[0].text
        word, headers = self.credential
        assert {answer.status_code for answer in answers} == {401}, [answer.text for answer in answers]
        assert all(answer.is_success for answer in self._send(sender, headers(sender.stack)))
        return word

    def as_stranger(self, sender: Sender) -> str:
        """The word for a sender without a credential."""
        return "refused" if {answer.status_code for answer in self._send(sender)} <= {401, 403} else "not refused"

    def as_page(self, sender: Sender) -> str:
        """The word for a page of another site, also once the name of its site has become an address of this machine."""
        answers = self._send(sender)
        # A browser refuses the certificate for another name, and has no password for it.
        rebound = [] if isinstance(sender, TlsSender) else self._send(sender, {"Host": FOREIGN_HOST})
        statuses = {answer.status_code for answer in [*answers, *rebound]}
        if all(is_off(answer) for answer in [*answers, *rebound]):
            return "off"
        if statuses <= {400, 401, 403}:
            return "refused"
        assert all("Access-Control-Allow-Origin" not in answer.headers for answer in answers)
        return "unreadable" if {answer.status_code for answer in rebound} <= {400, 403} else "by rebinding"

    def _send(self, sender: Sender, headers: Headers | None = None) -> list[httpx.Response]:
        return [sender.send(self.method, self.server, path, headers or {}, **self.content) for path in self.paths]


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def zenml_login(stack: Stack) -> dict[str, str]:
    login = {"username": "admin", "password": stack.secrets()["ZENML_ADMIN_PASSWORD"]}
    url = f"http://127.0.0.1:{stack.ports['ZENML_PORT']}/api/v1/login"
    return bearer(httpx.post(url, data=login, timeout=30).raise_for_status().json()["access_token"])


FIRING = {"version": "4", "groupKey": "tried", "alerts": [{"status": "firing", "labels": {"alertname": "Tried"}}]}
TAG = {"name": "iris", "key": "tried", "value": "yes"}
WRITE_PATHS = (
    "/api/v1/write",
    "/api/v1/otlp/v1/metrics",
    "/api/v1/admin/tsdb/delete_series?match[]=up",
    "/-/reload",
    "/-/quit",
)
ACTIONS = {
    "Predict, read scores and metrics": Action("POST", "inference", ("/predict",), {"json": FLOWER}),
    "Request a training, roll back": Action(
        "POST", "inference", ("/retrain",), credential=("key", lambda stack: bearer(stack.environment["WRITE_API_KEY"]))
    ),
    "Request a training by an alert": Action(
        "POST",
        "inference",
        ("/alerts",),
        {"json": FIRING},
        ("token", lambda stack: bearer(stack.secrets()["ALERT_TOKEN"])),
    ),
    "Read runs, models and aliases": Action("GET", "mlflow", ("/api/2.0/mlflow/registered-models/get?name=iris",)),
    "Change runs, models and aliases": Action(
        "POST", "mlflow", ("/api/2.0/mlflow/registered-models/set-tag",), {"json": TAG}
    ),
    "Read and change pipelines": Action("GET", "zenml", ("/api/v1/runs",), credential=("password", zenml_login)),
    "Query metrics and alerts": Action("GET", "prometheus", ("/api/v1/query?query=up", "/api/v1/alerts")),
    "Write samples, delete, reload, stop": Action("POST", "prometheus", WRITE_PATHS),
    "Read and change dashboards": Action(
        "GET",
        "grafana",
        ("/api/search",),
        credential=("password", lambda stack: basic("admin", stack.secrets()["GRAFANA_ADMIN_PASSWORD"])),
    ),
}
SILENCE = {
    "matchers": [{"name": "alertname", "value": "Tried", "isRegex": False, "isEqual": True}],
    "startsAt": "2026-01-01T00:00:00Z",
    "endsAt": "2100-01-01T00:00:00Z",
    "createdBy": "tests",
    "comment": "tried",
}
# Alertmanager is reached from outside the stack through the TLS proxy alone.
TLS_ACTIONS = {name: action for name, action in ACTIONS.items() if name != "Request a training by an alert"} | {
    "Read alerts": Action("GET", "alertmanager", ("/api/v2/alerts",)),
    "Silence alerts": Action("POST", "alertmanager", ("/api/v2/silences",), {"json": SILENCE}),
    "Raise alerts": Action("POST", "alertmanager", ("/api/v2/alerts",), {"json": [{"labels": {"alertname": "Tried"}}]}),
}
