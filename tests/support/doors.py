"""The tables of docs/security.md, and actions on the stack, sent with and without a credential."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from src.services.local.processes import REPOSITORY
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

    def send(self, method: str, server: str, path: str, headers: Headers, **content: Any) -> httpx.Response:
        url = f"http://{self.host}:{self.stack.ports[f'{server.upper()}_PORT']}{path}"
        return httpx.request(method, url, headers={**self.headers, **headers}, timeout=20, **content)


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
        assert self.credential is not None, [answer.text for answer in answers]
        word, headers = self.credential
        assert {answer.status_code for answer in answers} == {401}, [answer.text for answer in answers]
        assert all(answer.is_success for answer in self._send(sender, headers(sender.stack)))
        return word

    def as_page(self, sender: Sender) -> str:
        """The word for a page of another site, also once the name of its site has become an address of this machine."""
        answers = self._send(sender)
        rebound = self._send(sender, {"Host": FOREIGN_HOST})
        statuses = {answer.status_code for answer in [*answers, *rebound]}
        if all(is_off(answer) for answer in [*answers, *rebound]):
            return "off"
        if statuses <= {400, 401, 403}:
            return "refused"
        assert all("Access-Control-Allow-Origin" not in answer.headers for answer in answers)
        return "unreadable" if {answer.status_code for answer in rebound} <= {400, 403} else "by rebinding"

    def _send(self, sender: Sender, headers: Headers | None = None) -> list[httpx.Response]:
        return [sender.send(self.method, self.server, path, headers or {}, **self.content) for path in self.paths]
