"""A Kubernetes API server for one CronJob and the Jobs made from it, over real HTTP, with state.

It keeps the rules that the trainer relies on: one object of a name, preconditions of a deletion, foreground deletion
until the pods are gone, and a resource version that changes with each change.
"""

import copy
import itertools
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

NAMESPACE = "loop"
NAME = "train-model"
BASE = f"/apis/batch/v1/namespaces/{NAMESPACE}"
TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"app.kubernetes.io/name": NAME}, "creationTimestamp": None},
    "spec": {"backoffLimit": 0, "template": {"spec": {"containers": [{"name": "train", "image": "train:1"}]}}},
}
Reply = tuple[int, Any]


def refusal(code: int, reason: str, message: str) -> Reply:
    return code, {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}


class FakeKubernetes:
    """What the API server knows, and what went over the wire."""

    def __init__(self, account: Path) -> None:
        self.account = account
        self.objects: dict[str, dict[str, Any]] = {
            f"{BASE}/cronjobs/{NAME}": {"metadata": {"name": NAME, "uid": "c"}, "spec": {"jobTemplate": TEMPLATE}}
        }
        self.refusals: dict[str, Reply] = {}  # by method
        self.lost: set[str] = set()  # methods whose answers are lost after they took effect
        self.silent = threading.Event()  # set: no answer until it is cleared by `release`
        self.release = threading.Event()
        self.warning: str | None = None
        self.before: Callable[[str], None] = lambda _: None  # called with the method before each call
        self.requests: list[tuple[str, str, Any]] = []
        self.tokens: list[str | None] = []
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        account.mkdir(exist_ok=True)
        for name, text in {"token": "first\n", "namespace": f"{NAMESPACE}\n", "ca.crt": ""}.items():
            (account / name).write_text(text)

    @property
    def job(self) -> dict[str, Any] | None:
        return self.objects.get(f"{BASE}/jobs/{NAME}")

    def set_status(self, **status: Any) -> None:
        """What the Job's controller does."""
        job = self.job
        assert job is not None
        job["status"] = status
        job["metadata"]["resourceVersion"] = str(next(self._numbers))

    def end(self, kind: str, reason: str = "", message: str = "") -> None:
        condition = {"type": kind, "status": "True", "reason": reason, "message": message}
        self.set_status(conditions=[{"type": "Suspended", "status": "False"}, condition])

    def remove(self) -> None:
        """What the garbage collector does once the pods are gone."""
        del self.objects[f"{BASE}/jobs/{NAME}"]

    def answer(self, method: str, path: str, body: Any) -> Reply:
        self.before(method)
        with self._lock:
            self.requests.append((method, path, body))
            if method in self.refusals:
                return self.refusals[method]
            if method == "POST" and path == f"{BASE}/jobs":
                return self._create(f"{path}/{body['metadata']['name']}", body)
            if path not in self.objects:
                return refusal(404, "NotFound", f"{path.rpartition('/')[2]!r} not found")
            return self._delete(path, body) if method == "DELETE" else (200, copy.deepcopy(self.objects[path]))

    def _create(self, path: str, body: Any) -> Reply:
        if path in self.objects:
            return refusal(409, "AlreadyExists", f"jobs.batch {path.rpartition('/')[2]!r} already exists")
        number = str(next(self._numbers))
        body["metadata"] |= {"uid": f"uid-{number}", "resourceVersion": number}
        self.objects[path] = {**body, "status": {}}
        return 201, copy.deepcopy(self.objects[path])

    def _delete(self, path: str, options: Any) -> Reply:
        metadata = self.objects[path]["metadata"]
        if any(metadata[key] != value for key, value in options["preconditions"].items()):
            return refusal(409, "Conflict", "the precondition failed")
        if options["propagationPolicy"] == "Foreground":
            metadata |= {"deletionTimestamp": "2030-01-01T00:00:00Z", "resourceVersion": str(next(self._numbers))}
        else:
            del self.objects[path]
        return 200, {"kind": "Status", "status": "Success"}


def _handler(fake: FakeKubernetes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fake.tokens.append(self.headers.get("Authorization"))
            if fake.silent.is_set():
                fake.release.wait(30)
            status, body = fake.answer(self.command, self.path, json.loads(text or "null"))
            if self.command in fake.lost:
                self.close_connection = True
                return
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if fake.warning is not None and self.command == "POST":
                self.send_header("Warning", fake.warning)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = reply  # noqa: N815 - the base class's names

        def log_message(self, *_: object) -> None:
            pass

    return Handler
