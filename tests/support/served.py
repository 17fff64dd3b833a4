"""A served app without a network: the real application on a hand-written MLflow."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from src.core.inference_settings import InferenceSettings
from src.services.inference.inference_service import ServiceState, create_app
from src.serving.http.front_protocol import FrontProtocol
from tests.support.fake_mlflow import FakeMlflow
from tests.support.models import build_model


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """Two good models and one whose golden rows lie, by name: directory and manifest digest. Read only."""
    root = tmp_path_factory.mktemp("models")
    return {
        "first": (root / "first", build_model(root / "first", seed=1)),
        "second": (root / "second", build_model(root / "second", seed=2)),
        "liar": (root / "liar", build_model(root / "liar", spoil_golden=True)),
    }


@pytest.fixture
def mlflow(models: dict[str, tuple[Path, str]]) -> FakeMlflow:
    """Versions 1 and 2 are good, 3 is not; 1 is champion."""
    fake = FakeMlflow()
    for version, name in (("1", "first"), ("2", "second"), ("3", "liar")):
        fake.add(version, *models[name])
    fake.promote("1")
    return fake


@dataclass
class Served:
    """A running application, a client of it, and its insides."""

    app: FastAPI
    asgi: ASGIApp
    client: httpx.AsyncClient
    service: ServiceState
    mlflow: FakeMlflow
    network: "Network"

    async def look(self) -> None:
        """Let the store look at MLflow now."""
        await self.service.store.catch_up(seconds=20)

    async def exchange(
        self, headers: list[tuple[bytes, bytes]], messages: list[dict[str, Any]], *, path: str = "/predict"
    ) -> tuple[list[dict[str, Any]], int]:
        """One raw POST: what was sent back, and how many messages of the body were taken."""
        taken, sent = 0, []

        async def receive() -> dict[str, Any]:
            nonlocal taken
            taken += 1
            return messages[taken - 1]

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.asgi(raw_post(path, headers), receive, send)
        return sent, taken

    async def connect(self) -> "Connection":
        """A connection over the network, through the service's own HTTP protocol."""
        return Connection(*await asyncio.open_connection("127.0.0.1", self.network.port))

    async def post_plainly(self, body: bytes, **headers: str) -> httpx.Response:
        """A request that comes over the network in one piece."""
        async with await self.connect() as connection:
            connection.send(request(body, **headers))
            return await connection.answer()

    async def metric(self, name: str, /, **labels: str) -> float:
        """One sample as Prometheus would scrape it; fails when there is none."""
        text = (await self.client.get("/metrics")).text
        found = [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        ]
        assert found, f"no sample {name} {labels}"
        return found[0]


def raw_post(path: str, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    """The scope of a POST request, with a Host unless the headers have one."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": headers if b"host" in dict(headers) else [(b"host", b"localhost"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }


@dataclass
class Network:
    """The service as ``run_inference`` serves it, but by the test's event loop.

    Attributes:
        config: of connections that are made from now on.
        connections: the service's ends.
    """

    port: int
    config: uvicorn.Config
    connections: set[FrontProtocol]

    def end_of(self, connection: "Connection") -> FrontProtocol:
        """The service's end of a connection that has been used."""
        return next(end for end in self.connections if end.transport.get_extra_info("peername") == connection.name)


class Connection:
    """A client's end of a connection. Answers are read in their order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.name = writer.get_extra_info("sockname")

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    def send(self, content: bytes) -> None:
        self._writer.write(content)

    async def answer(self) -> httpx.Response:
        """The next answer, with its whole body."""
        head = await self.head()
        body = await self._reader.readexactly(int(head.headers.get("content-length", "0")))
        return httpx.Response(head.status_code, headers=head.headers, content=body)

    async def head(self) -> httpx.Response:
        """The head of the next answer."""
        head = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 20)
        status, *lines = head.decode().split("\r\n")[:-2]
        headers = httpx.Headers([tuple(line.split(": ", 1)) for line in lines])  # type: ignore[misc]
        return httpx.Response(int(status.split()[1]), headers=headers)

    async def is_closed(self) -> bool:
        """Wait for what comes next; whether it is the end."""
        return await asyncio.wait_for(self._reader.read(1), 20) == b""


def request(body: bytes, *, target: str = "/predict", version: str = "1.1", **headers: str) -> bytes:
    """A POST as it goes over the network; None of a header leaves it out."""
    given = {"host": "localhost", "content_type": "application/json", "content_length": str(len(body)), **headers}
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items() if value]
    return f"POST {target} HTTP/{version}\r\n{''.join(lines)}\r\n".encode() + body


def note_routed(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the requests that reach the router from now on."""
    paths: list[str] = []
    router = app.router.middleware_stack

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        paths.append(scope["path"])
        await router(scope, receive, send)

    monkeypatch.setattr(app.router, "middleware_stack", noting)
    return paths


Serving = Callable[..., AbstractAsyncContextManager[Served]]


@contextlib.asynccontextmanager
async def _serving(folder: Path, mlflow: FakeMlflow, *, ready: bool = True, **settings: Any) -> AsyncIterator[Served]:
    # Looks happen when a test asks for one.
    chosen = {"data_dir": folder / "data", "model_poll_seconds": 600, "model_retry_max_seconds": 600, **settings}
    app = create_app(InferenceSettings(_env_file=None, **chosen), mlflow_transport=mlflow.transport)
    gc.freeze()  # as run_inference does: a collection would look at all that the tests have imported
    async with app.router.lifespan_context(app) as state:

        async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
            scope["state"] = dict(state)  # as uvicorn does
            await app(scope, receive, send)

        transport = httpx.ASGITransport(asgi)
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://inference") as client,
            _network(app, dict(state)) as network,
        ):
            served = Served(app, asgi, client, state["service"], mlflow, network)
            if ready:
                await served.look()
                assert served.service.store.current is not None
            yield served


@contextlib.asynccontextmanager
async def _network(app: FastAPI, state: dict[str, Any]) -> AsyncIterator[Network]:
    config = uvicorn.Config(app, http=FrontProtocol, ws="none", lifespan="off", log_config=None, access_log=False)
    config.load()
    shared = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: FrontProtocol(config, shared, state), "127.0.0.1", 0, start_serving=True
    )
    yield Network(server.sockets[0].getsockname()[1], config, shared.connections)  # type: ignore[arg-type] # made above
    server.close()
    for connection in list(shared.connections):
        connection.shutdown()
    while shared.tasks:
        await asyncio.wait(shared.tasks)


@pytest.fixture(scope="session")
def serving() -> Serving:
    """Start an application on a folder and a FakeMlflow; further keywords are settings."""
    return _serving


@pytest.fixture
async def served(tmp_path: Path, mlflow: FakeMlflow) -> AsyncIterator[Served]:
    """Version 1 is served."""
    async with _serving(tmp_path, mlflow) as running:
        yield running


@pytest.fixture
async def unready(tmp_path: Path, mlflow: FakeMlflow) -> AsyncIterator[Served]:
    """Nothing is served: no version is champion."""
    mlflow.aliases.clear()
    async with _serving(tmp_path, mlflow, ready=False) as running:
        await running.look()
        yield running
