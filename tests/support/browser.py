"""A real Chromium, and a tab in it that writes down what must not happen."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Response, sync_playwright

from tests.support.installed import program_from
from tests.support.running import wait_until

LAPTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@contextmanager
def chromium() -> Iterator[Browser]:
    """The machine's Chromium, headless."""
    with sync_playwright() as playwright:
        # Root has no sandbox of Chromium's.
        sandbox = os.geteuid() != 0
        browser = playwright.chromium.launch(executable_path=program_from("chromium.sh"), chromium_sandbox=sandbox)
        yield browser
        browser.close()


def goto(page: Page, url: str) -> Response:
    """Open a page, again where Chromium drops its requests because a container's network interface has come or gone."""

    def answer() -> Response | None:
        try:
            return page.goto(url)
        except Error as error:
            if "ERR_NETWORK_CHANGED" not in str(error):
                raise
            return None

    return wait_until(f"{url} is loaded", answer)


class Tab:
    """One tab on a service's pages.

    Attributes:
        page: Playwright's.
        complaints: what the browser's console has said of errors and warnings, and scripts that failed.
        strangers: requests to other origins.
    """

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.strangers: list[str] = []
        self._origin = origin
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._on_request(request.url))

    def barriers(self) -> list[str]:
        """What axe-core finds wrong with the page as it is: the rule, the element, and why."""
        found = Axe().run(self.page).response["violations"]
        return [f"{rule['id']}: {node['html']}: {node['failureSummary']}" for rule in found for node in rule["nodes"]]

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def _on_request(self, url: str) -> None:
        if not url.startswith((f"{self._origin}/", "data:")):
            self.strangers.append(url)


@contextmanager
def tab(browser: Browser, url: str, **options: Any) -> Iterator[Tab]:
    """A tab of its own profile on a service's first page; ``options`` are of Playwright's ``new_context``."""
    context = browser.new_context(**{"viewport": LAPTOP, "color_scheme": "light", **options})
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=url)
    page = context.new_page()
    opened = Tab(page, url)
    goto(page, url)
    yield opened
    context.close()
