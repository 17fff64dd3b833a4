"""Every server that can be measured, in the order of the table."""

from benchmarks.servers import bentoml, litserve, mlflow_serve, mlserver, ours, plain
from benchmarks.servers.server import Server

SERVERS: tuple[Server, ...] = (
    *ours.SERVERS,
    *plain.SERVERS,
    *mlflow_serve.SERVERS,
    *mlserver.SERVERS,
    *bentoml.SERVERS,
    *litserve.SERVERS,
)
