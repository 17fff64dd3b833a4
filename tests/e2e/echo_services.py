"""Replaces the stack's services behind the TLS proxy, in one container: answers with what it was sent, as JSON.

Every answer carries the headers that the proxy must change: a redirect to the Host that was asked for, a cookie, and an
allowance for every other origin.
"""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORTS = (8000, 5000, 8080, 9090, 9093, 3000)


class Echo(BaseHTTPRequestHandler):
    """Answers every request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with the request's own words."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): ", ".join(self.headers.get_all(name) or ()) for name in self.headers}
        seen = {"method": self.command, "path": self.path, "headers": headers}
        answer = json.dumps({**seen, "by": socket.gethostname()}).encode()
        self.send_response(307 if self.path == "/moved" else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("Location", f"http://{self.headers['Host']}/there?a=b")
        self.send_header("Set-Cookie", "session=1; Path=/; HttpOnly")
        self.send_header("Access-Control-Allow-Origin", self.headers.get("Origin") or "*")
        self.send_header("Access-Control-Allow-Credentials", "true")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing."""


if __name__ == "__main__":
    for port in PORTS:
        threading.Thread(target=ThreadingHTTPServer(("", port), Echo).serve_forever).start()
