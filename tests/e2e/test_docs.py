"""Swagger UI in a real Chromium, behind a proxy that strips a prefix from all paths."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.support.browser import chromium, tab
from tests.support.inference_process import without_mlflow

pytestmark = pytest.mark.e2e

PREFIX = "/models/iris"
OF_CONNECTIONS = {"connection", "transfer-encoding", "content-length", "date", "server"}


@contextmanager
def stripping_proxy(service: str) -> Iterator[str]:
    """A proxy that serves a service below ``PREFIX`` and nothing elsewhere; yields the service's URL behind it."""

    class Proxy(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            if not self.path.startswith(f"{PREFIX}/"):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            kind = {"Content-Type": self.headers.get("Content-Type", "text/plain")}
            url = service + self.path.removeprefix(PREFIX)
            answer = httpx.request(self.command, url, content=body, headers=kind, timeout=10)
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name not in OF_CONNECTIONS:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def do_POST(self) -> None:
            self.do_GET()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{PREFIX}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("behind_proxy", [False, True])
def test_execute_sends_its_request_to_where_the_document_is(tmp_path: Path, *, behind_proxy: bool) -> None:
    inference = without_mlflow(tmp_path)
    with chromium() as browser, inference.serving(), stripping_proxy(inference.url) as proxied:
        url = proxied if behind_proxy else inference.url
        with tab(browser, f"{url}/docs") as opened:
            operation = opened.page.locator(".opblock", has_text="Predict one record, or a list of records")
            operation.locator(".opblock-summary-control").click()
            operation.get_by_role("button", name="Try it out").click()
            with opened.page.expect_response(f"{url}/predict") as sent:
                operation.get_by_role("button", name="Execute").click()
            assert sent.value.status == 200
            expect(operation.locator(".live-responses-table")).to_contain_text("setosa")
            assert opened.complaints == []
