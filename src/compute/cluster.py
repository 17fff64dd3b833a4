"""Chooses where work runs, and connects to it. Dask is imported here alone, and only when it is used."""

import contextlib
import importlib.util
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from src.compute.mapping import RETRIES, InProcess, Item, Mapper, Outcome, Result, attempted, failure, refusal
from src.compute.versions import differences, versions_here
from src.core.compute_settings import ComputeSettings
from src.core.errors import ConfigError, ConnectionFailedError, LoopError
from src.core.memory import memory_limit

if TYPE_CHECKING:
    from distributed import Client, Future

# The least memory for a worker on this machine, and the share of memory that all of them have.
WORKER_BYTES = 500_000_000
WORKERS_SHARE = 0.75
CONNECT_SECONDS = 30.0
# What a worker on this machine runs first: Ctrl-C reaches it, too, but its client is who ends it.
IGNORE_INTERRUPTS = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
NO_DASK = "needs the dependency group compute, which is not installed; run `uv sync --group compute`"


@contextlib.contextmanager
def mapper(settings: ComputeSettings, rows: int, items: int) -> Iterator[Mapper]:
    """Where to work on so many rows in so many items: a scheduler, this machine's cores, or this process.

    Raises:
        ConfigError: Dask is not installed, the certificates cannot be used, or a worker has other versions.
        ConnectionFailedError: the scheduler does not answer or has no workers.
    """
    if settings.compute_address is not None:
        _require_dask("COMPUTE_ADDRESS")
        with _connected(settings, settings.compute_address) as found:
            yield found
        return
    workers = 1
    if rows > settings.compute_local_rows:
        _require_dask(f"work on more than COMPUTE_LOCAL_ROWS ({settings.compute_local_rows:,}) rows")
        workers = local_workers(_cores(), items, memory_limit())
    if workers == 1:
        yield InProcess()
        return
    with _on_this_machine(workers) as found:
        yield found


def local_workers(cores: int, items: int, memory: float) -> int:
    """How many workers this machine runs: at most one per core and item, each with ``WORKER_BYTES`` at least."""
    return max(1, min(cores, items, int(memory * WORKERS_SHARE // WORKER_BYTES)))


class OnCluster:
    """Runs functions on the workers of a connected client."""

    def __init__(self, client: "Client", place: str) -> None:
        self._client = client
        self.place = place

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Outcome[Item, Result]]:
        """See ``Mapper``."""
        from distributed import as_completed  # noqa: PLC0415 - heavy, and not installed where nothing is configured

        run = partial(attempted, function, versions=versions_here())
        futures = {self._client.submit(run, item, retries=RETRIES, pure=False): item for item in items}
        try:
            for future in as_completed(list(futures), loop=self._client.loop):
                yield self._outcome(futures.pop(future), future)
        finally:
            with contextlib.suppress(OSError):  # the connection is lost: there is nothing to cancel
                self._client.cancel(list(futures))

    def _outcome(self, item: Item, future: "Future[Outcome[Item, Result]]") -> Outcome[Item, Result]:
        lost = f"the connection to the scheduler ({self.place}) is lost; run again once it works"
        if future.cancelled():
            raise ConnectionFailedError(lost)
        try:
            error = future.exception()
            return future.result() if error is None else Outcome(item, error=_explained(error))
        except OSError as comm:  # an error of the function is not raised here
            raise ConnectionFailedError(lost) from comm


def _explained(error: BaseException) -> LoopError:
    from distributed import KilledWorker  # noqa: PLC0415 - as above

    if isinstance(error, KilledWorker):
        return LoopError(
            "the worker was lost in every attempt, as when it needs more memory than it has; give workers more memory, "
            "or split the file"
        )
    return failure(error)


@contextlib.contextmanager
def _connected(settings: ComputeSettings, address: str) -> Iterator[OnCluster]:
    from distributed import Client, Security  # noqa: PLC0415 - as above

    security = None
    if settings.is_encrypted:
        files = (settings.compute_tls_ca_file, settings.compute_tls_cert_file, settings.compute_tls_key_file)
        if missing := [str(file) for file in files if file is None or not file.is_file()]:
            raise ConfigError(f"{', '.join(missing)} of COMPUTE_TLS_… does not exist; correct the path")
        authority, certificate, key = map(str, files)
        security = Security(
            require_encryption=True, tls_ca_file=authority, tls_client_cert=certificate, tls_client_key=key
        )
    try:
        client = Client(address, security=security, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:  # time-outs too
        raise ConnectionFailedError(
            f"the scheduler at {address} cannot be reached ({type(error).__name__}); check that it runs, and "
            "COMPUTE_ADDRESS and COMPUTE_TLS_…"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except TimeoutError as error:
            raise ConnectionFailedError(f"the scheduler at {address} has no workers; start some") from error
        _require_versions(client)
        yield OnCluster(client, f"on the workers of {address}")


@contextlib.contextmanager
def _on_this_machine(workers: int) -> Iterator[OnCluster]:
    from distributed import Client, LocalCluster  # noqa: PLC0415 - as above

    memory = int(memory_limit() * WORKERS_SHARE / workers)
    # Encrypted with a key of its own: other users of this machine could run code through an open port.
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=memory,
            protocol="tls://",
            security=True,
            dashboard_address="127.0.0.1:0",  # no fixed port, which another run may use
            preload=IGNORE_INTERRUPTS,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield OnCluster(client, f"in {workers} processes")


def _require_versions(client: "Client") -> None:
    """Refuse workers with other versions. One that joins later is refused by its first task."""
    try:
        versions = client.run(versions_here)
    except Exception as error:  # a worker without this code raises any
        raise ConfigError(
            f"a worker cannot run this project's code ({type(error).__name__}); start the workers in a checkout, with "
            "the same uv.lock"
        ) from error
    for worker, found in versions.items():
        if differing := differences(versions_here(), found):
            raise ConfigError(refusal(f"the worker {worker}", differing))


def _require_dask(what: str) -> None:
    """Import Dask, and leave out what it logs about each connection: its import sets its own level."""
    if importlib.util.find_spec("distributed") is None:
        raise ConfigError(f"{what} {NO_DASK}")
    importlib.import_module("distributed")
    logging.getLogger("distributed").setLevel(max(logging.WARNING, logging.getLogger().level))


def _cores() -> int:
    from dask.system import CPU_COUNT  # noqa: PLC0415 - as above

    return int(CPU_COUNT)
