"""How a server is started, and its requests and responses."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from src.services.local.processes import REPOSITORY

Rows = list[list[float]]
# The project's own Python environment; every other name is a file in benchmarks/requirements.
PROJECT = "project"
JSON = "application/json"


@dataclass(frozen=True)
class Place:
    """The paths and ports of one start of a server; each is a ``$name`` in commands, variables and files.

    ``model`` is an MLflow model's folder, ``pipeline`` the same model as a scikit-learn pickle, ``cache`` a model cache
    of this service that contains it, ``work`` an empty folder for this start.
    """

    python: Path
    port: int
    second_port: int
    third_port: int
    model: Path
    pipeline: Path
    cache: Path
    work: Path
    apps: Path

    def fill(self, text: str) -> str:
        """The text with the values of this place."""
        return Template(text).substitute(vars(self))


@dataclass(frozen=True)
class Server:
    """A server with the model, or without one.

    Attributes:
        name: its name in ``--only``.
        title: its title in the table.
        environment: the name of its Python environment.
        command: starts it in the foreground.
        path: the route for predictions.
        encode: converts column names and rows to a request's body.
        labels: converts a response's body to labels; None for a server without a model.
        content_type: of requests.
        headers: of requests, besides the content's.
        variables: added to the environment.
        files: written to its work folder before it starts.
        takes_batches: whether a request may have many rows.
        batches_only: whether only requests of many rows are measured.
        health: the route whose latency is measured beside the largest requests; None for none.
        code: the folder that it is started in.
        note: a remark for the table.
    """

    name: str
    title: str
    environment: str
    command: tuple[str, ...]
    path: str
    encode: Callable[[tuple[str, ...], Rows], bytes]
    labels: Callable[[bytes], list[str]] | None
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    takes_batches: bool = True
    batches_only: bool = False
    health: str | None = None
    code: Path = REPOSITORY
    note: str = ""


def split_frame(columns: tuple[str, ...], rows: Rows) -> bytes:
    """MLflow's scoring protocol."""
    return json.dumps({"dataframe_split": {"columns": columns, "data": rows}}).encode()


def mlflow_labels(answer: bytes) -> list[str]:
    """MLflow's scoring protocol."""
    return [str(label) for label in json.loads(answer)["predictions"]]


def tensor(columns: tuple[str, ...], rows: Rows) -> bytes:
    """The Open Inference Protocol, rows as one tensor; only labels are requested."""
    values = [value for row in rows for value in row]
    shape = [len(rows), len(columns)]
    inputs = [{"name": "features", "shape": shape, "datatype": "FP64", "data": values}]
    return json.dumps({"inputs": inputs, "outputs": [{"name": "predict"}]}).encode()


def tensor_labels(answer: bytes) -> list[str]:
    """The Open Inference Protocol, labels as the first tensor."""
    return [str(label) for label in json.loads(answer)["outputs"][0]["data"]]


def record(columns: tuple[str, ...], rows: Rows) -> bytes:
    """One row as a JSON object by column."""
    (row,) = rows
    return json.dumps(dict(zip(columns, row, strict=True))).encode()


def record_or_list(columns: tuple[str, ...], rows: Rows) -> bytes:
    """One row as a JSON object, more as a list of them."""
    if len(rows) == 1:
        return record(columns, rows)
    return json.dumps([dict(zip(columns, row, strict=True)) for row in rows]).encode()


def column_lists(columns: tuple[str, ...], rows: Rows) -> bytes:
    """Rows as a JSON object with a list of values by column."""
    return json.dumps(dict(zip(columns, zip(*rows, strict=True), strict=True))).encode()


def csv_lines(columns: tuple[str, ...], rows: Rows) -> bytes:
    """Rows as CSV with a header."""
    return "".join(",".join(map(str, line)) + "\n" for line in (columns, *rows)).encode()


def row_lists(columns: tuple[str, ...], rows: Rows) -> bytes:  # noqa: ARG001 - one signature for all
    """Rows as lists of values under the key ``rows``."""
    return json.dumps({"rows": rows}).encode()
