"""An HTTP client of one MLflow server, with errors that say what is wrong with its answers."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from src.core.errors import ConnectionFailedError, LoopError, RegistryError

CHUNK_BYTES = 1 << 18
# MLflow's server closes idle connections after five seconds; one kept longer might close during a request.
KEEPALIVE_SECONDS = 2.0


class MlflowHttp:
    """A client of one server. Close it with ``aclose``.

    Args:
        base_url: the server's URL; a user name and password in it are used and never logged.
        timeout: seconds for one answer, and for each silence during a download.
        transport: replaces the network.
    """

    def __init__(self, base_url: str, *, timeout: float, transport: httpx.AsyncBaseTransport | None) -> None:
        self._timeout = timeout
        limits = httpx.Limits(max_connections=4, keepalive_expiry=KEEPALIVE_SECONDS)
        self._client = httpx.AsyncClient(base_url=base_url, timeout=timeout, limits=limits, transport=transport)
        self.shown_url = str(self._client.base_url.copy_with(username=None, password=None)).rstrip("/")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    @property
    def host(self) -> str:
        """The server's host and port."""
        return urlsplit(self.shown_url).netloc

    async def get(self, path: str, params: Mapping[str, str]) -> httpx.Response:
        """The answer to a GET, of any status. Raises ConnectionFailedError."""
        return await self._send(self._client.build_request("GET", path, params=params))

    async def post(self, path: str, content: Mapping[str, str]) -> None:
        """Send a POST. Raises ConnectionFailedError, RegistryError."""
        await self._change("POST", path, content)

    async def delete(self, path: str, content: Mapping[str, str]) -> None:
        """Send a DELETE. Raises ConnectionFailedError, RegistryError."""
        await self._change("DELETE", path, content)

    async def _change(self, method: str, path: str, content: Mapping[str, str]) -> None:
        self._check(await self._send(self._client.build_request(method, path, json=content)))

    async def _send(self, request: httpx.Request) -> httpx.Response:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._client.send(request)
        except (httpx.HTTPError, TimeoutError) as error:
            raise self._unreachable(error) from error

    async def get_json(self, path: str, params: Mapping[str, str]) -> dict[str, Any]:
        """The JSON object that a GET returns. Raises ConnectionFailedError, RegistryError."""
        return self.json_of(await self.get(path, params))

    def json_of(self, answer: httpx.Response) -> dict[str, Any]:
        """The JSON object in an answer. Raises ConnectionFailedError, RegistryError."""
        self._check(answer)
        try:
            content = answer.json()
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise RegistryError(f"MLflow at {self.shown_url} did not return a JSON object; is it an MLflow server?")
        return content

    async def fetch(self, path: str, target: Path, *, budget: int, too_large: str) -> int:
        """Stream a file to disk; return its bytes.

        Raises:
            ConnectionFailedError: the server cannot be reached or refuses us.
            RegistryError: it has no such file, or, with the text ``too_large``, one of more than ``budget`` bytes.
            OSError: the file cannot be written.
        """
        taken = 0
        file = await asyncio.to_thread(target.open, "xb")
        try:
            async with self._client.stream("GET", quote(path)) as answer:
                self._check(answer)
                async for chunk in answer.aiter_bytes(CHUNK_BYTES):
                    taken += len(chunk)
                    if taken > budget:
                        raise RegistryError(too_large)
                    await asyncio.to_thread(file.write, chunk)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        finally:
            await asyncio.to_thread(file.close)
        return taken

    def _unreachable(self, error: Exception) -> LoopError:
        return ConnectionFailedError(
            f"MLflow at {self.shown_url} cannot be reached ({type(error).__name__}); "
            "check that it runs and that MLFLOW_TRACKING_URI is right"
        )

    def _check(self, answer: httpx.Response) -> None:
        if answer.status_code in {401, 403}:
            raise ConnectionFailedError(
                f"MLflow at {self.shown_url} refused the request ({answer.status_code}); check the credentials and "
                "that its --allowed-hosts includes this host"
            )
        if answer.status_code != httpx.codes.OK:
            raise RegistryError(f"MLflow at {self.shown_url} answers {answer.status_code} to {answer.request.url.path}")
