import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import pytest

from src.services.inference.routes.documentation import DOCS_FILES

pytestmark = pytest.mark.anyio


class Page(HTMLParser):
    """What a page loads, and what it has written in itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.inline: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._inside = tag
        if tag != "a":
            self.loads += [value or "" for name, value in attrs if name in ("src", "href")]
        self.inline += [name for name in given if name == "style" or name.startswith("on")]

    def handle_data(self, data: str) -> None:
        if self._inside in ("script", "style") and data.strip():
            self.inline.append(data)


async def test_page_loads_only_files_of_this_service(served: Any) -> None:
    answer = await served.client.get("/docs")
    assert answer.headers["Content-Type"].startswith("text/html")
    page = Page(answer.text)
    assert not page.inline
    assert len(page.loads) == 4
    for address in page.loads:
        if address == "data:,":
            continue
        assert urljoin("/docs", address).startswith("/docs/assets/")
        assert (await served.client.get(urljoin("/docs", address))).status_code == 200


async def test_page_forbids_itself_all_else(served: Any) -> None:
    policy = (await served.client.get("/docs")).headers["Content-Security-Policy"]
    rules = {name: words for name, *words in map(str.split, policy.split(";"))}
    assert rules["default-src"] == rules["base-uri"] == rules["frame-ancestors"] == ["'none'"]
    assert rules["script-src"] == rules["connect-src"] == ["'self'"]
    assert not re.search(r"unsafe|https?:|\*", policy)


@pytest.mark.parametrize("name", DOCS_FILES)
async def test_asset_is_served_and_not_sent_twice(served: Any, name: str) -> None:
    answer = await served.client.get(f"/docs/assets/{name}")
    kind = "text/css" if name.endswith(".css") else "text/javascript"
    assert answer.headers["Content-Type"].startswith(kind)
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    again = await served.client.get(f"/docs/assets/{name}", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["Cache-Control"] == "no-cache"
    labels = {"route": "/docs/assets/{name}", "method": "GET"}
    assert await served.metric("inference_http_requests_total", **labels, status="200") == 1
    assert await served.metric("inference_http_requests_total", **labels, status="304") == 1


@pytest.mark.parametrize("name", ["nope.js", "docs.html", "favicon.png", "%2e%2e", "..%2fdocs.html", "a%00", "x/y"])
async def test_nothing_else_is_served(served: Any, name: str) -> None:
    answer = await served.client.get(f"/docs/assets/{name}")
    assert answer.status_code == 404
    assert set(answer.json()) == {"detail", "request_id"}


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
async def test_pages_are_counted_by_their_own_route(served: Any, path: str) -> None:
    labels = {"route": path, "method": "GET", "status": "200"}
    assert await served.metric("inference_http_requests_total", **labels) == 0
    await served.client.get(path)
    assert await served.metric("inference_http_requests_total", **labels) == 1


async def test_page_needs_no_model(unready: Any) -> None:
    assert (await unready.client.get("/docs")).status_code == 200
