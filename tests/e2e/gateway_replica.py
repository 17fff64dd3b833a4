"""Stands in for a replica of inference behind the gateway, in a container; prints each request but health checks.

What it does is told by files in /tmp: with `draining` its /health answers 503 while it still serves; with `dying` it
takes each request and breaks off before answering.
"""

import json
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT = 8000
STATE = Path("/tmp")  # noqa: S108 - the container's own


class Replica(BaseHTTPRequestHandler):
    """Answers every request with its own name."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer, or break off."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        health = self.path == "/health"
        if not health:
            seen = {"method": self.command, "path": self.path, "bytes": len(body)}
            print(json.dumps({**seen, "forwarded_for": self.headers.get_all("X-Forwarded-For")}), flush=True)  # noqa: T201
            if (STATE / "dying").exists():
                self.close_connection = True
                return
        answer = socket.gethostname().encode()
        self.send_response(503 if health and (STATE / "draining").exists() else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing: the output is for the requests."""


class Server(ThreadingHTTPServer):
    """One thread for each connection."""

    def handle_error(self, *_: object) -> None:
        """Nothing: the gateway may break off a check or a connection."""


if __name__ == "__main__":
    Server(("", PORT), Replica).serve_forever()
