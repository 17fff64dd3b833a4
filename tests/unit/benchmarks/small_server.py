"""A small real server in the peers' place, and what it is asked."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from benchmarks.material import Material
from benchmarks.servers.server import PROJECT, Server, row_lists

# Answers each row with the label at its first value's place. Its child, in a session of its own, heeds no SIGTERM.
CODE = """
import http.server, json, os, signal, sys
LABELS = json.loads(os.environ["LABELS"])
MOST = int(os.environ["MOST"])
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        rows = json.loads(self.rfile.read(int(self.headers["content-length"])))["rows"]
        body = json.dumps([LABELS[int(row[0])] for row in rows]).encode()
        self.send_response(200 if len(rows) <= MOST else 413)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_request(self, *_):
        with open(os.environ["CHILD"] + ".log", "a") as log:
            log.write(self.command + "\\n")
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(os.environ["CHILD"], "w").write(str(os.getpid()))
    signal.pause()
server.serve_forever()
"""
ROWS = [[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]


def material(folder: Path) -> Material:
    return Material(folder, ("x", "y"), ROWS, ["a", "b", "c"])


def small_server(folder: Path, *command: str, labels: str = "abc", most: int = 1000, **changes: Any) -> Server:
    """Started in its place, it writes its child's pid into ``folder / "child"``, and methods into ``child.log``."""
    server = Server(
        name="small",
        title="small",
        environment=PROJECT,
        command=command or ("$python", "$work/server.py", "$port"),
        path="/predict",
        encode=row_lists,
        labels=json.loads,
        variables={"LABELS": json.dumps(list(labels)), "MOST": str(most), "CHILD": str(folder / "child")},
        files={"server.py": CODE},
    )
    return dataclasses.replace(server, **changes)
