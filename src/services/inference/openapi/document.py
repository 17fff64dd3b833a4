"""The service's OpenAPI document, with the columns and classes of the served model.

How to document a route: FastAPI's parameters describe it; this module adds what is the same for all routes.

- Answers go into ``responses`` of the route, by status: ``{200: {"description": …, "content": json_of("PredictAnswer"),
  "headers": MODEL_HEADERS}, 422: {"description": …}}``. A status from 400 on without ``content`` gets the
  shape of its path's errors (``web.error_shapes``). Refusals before the route (``refusals``) and 500 are added
  automatically. The listed statuses are also the metrics' series that exist at 0 from the start.
- A body that no parameter describes is given in ``openapi_extra={"requestBody": {"required": True, "content": …}}``.
- Schemas that depend on the model have a name and a function in ``schemas.SCHEMAS`` or a protocol's counterpart;
  ``json_of(name)`` and ``ref(name)`` refer to them.
"""

import copy
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from src.services.inference.openapi.errors import ERROR_SCHEMAS
from src.services.inference.openapi.infer import INFER_SCHEMAS
from src.services.inference.openapi.refusals import Refusals
from src.services.inference.openapi.schemas import SCHEMAS, TEXT, Schema, ref
from src.services.inference.openapi.scoring import SCORING_SCHEMAS
from src.serving.http.error_shapes import PROTOCOL_ERRORS, protocol_of
from src.serving.models.predictor import Predictor

FAILED = "The service failed; its log says why"
HEADERS: Mapping[str, Schema] = {
    "x-request-id": {"description": "The request's id if it was valid, else a new one", "schema": TEXT},
    "x-model-name": {
        "description": "The name of the model that predicted; percent-encoded where it is not ASCII",
        "schema": TEXT,
    },
    "x-model-version": {"description": "The model's version in the registry", "schema": TEXT},
    "retry-after": {"description": "Seconds to wait", "schema": {"type": "integer", "minimum": 0}},
}
ALL_SCHEMAS = {**SCHEMAS, **ERROR_SCHEMAS, **SCORING_SCHEMAS, **INFER_SCHEMAS}
INVALID_INPUT = "422"
RETRYABLE = frozenset({"429", "503"})


def json_of(name: str) -> dict[str, Any]:
    """The ``content`` of a JSON body with a schema of the document."""
    return {"application/json": {"schema": ref(name)}}


def headers_of(*names: str) -> dict[str, Any]:
    """The ``headers`` of an answer, by their names in ``HEADERS``."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


MODEL_HEADERS = headers_of("x-model-name", "x-model-version")


class Document:
    """Builds the document; may be called from any thread.

    Routes are read once, which takes tens of milliseconds; the model's part is rebuilt for each model.

    Args:
        app: has all of its routes by the first call.
        current: the served model.
        refusals: the refusals before the routes.
    """

    def __init__(self, app: FastAPI, current: Callable[[], Predictor | None], refusals: Refusals) -> None:
        self._app = app
        self._current = current
        self._refusals = refusals
        self._lock = threading.Lock()
        self._routes: Schema | None = None
        self._made: Schema | None = None
        self._made_for: Callable[[], Predictor | None] = lambda: None

    def __call__(self) -> Schema:
        """The current document, which is shared and must not be changed."""
        with self._lock:
            predictor = self._current()
            if self._made is None or self._made_for() is not predictor:
                self._routes = self._routes or _of_routes(self._app, self._refusals)
                self._made = _with_model(self._routes, predictor)
                # Weak, as the document must not keep a replaced model in memory.
                self._made_for = weakref.ref(predictor) if predictor is not None else lambda: None
            return self._made


def _with_model(routes: Schema, predictor: Predictor | None) -> Schema:
    document = copy.copy(routes)
    schemas = {**routes["components"]["schemas"], **{name: make(predictor) for name, make in ALL_SCHEMAS.items()}}
    document["components"] = {**routes["components"], "schemas": schemas}
    return document


def _of_routes(app: FastAPI, refusals: Refusals) -> Schema:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    refusals.describe(document)
    components = document.setdefault("components", {})
    components["headers"] = dict(HEADERS)
    # The service's errors do not have FastAPI's shapes.
    for name in ("HTTPValidationError", "ValidationError"):
        components.setdefault("schemas", {}).pop(name, None)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _complete(path, operation["responses"])
    return document


def _complete(path: str, responses: dict[str, Any]) -> None:
    """Add to a route's responses what is the same for all routes."""
    responses.setdefault("500", {"description": FAILED})
    for status, response in responses.items():
        content = response.get("content")
        if status >= "400" and (not content or "HTTPValidationError" in str(content)):
            own = "InvalidInput" if status == INVALID_INPUT else "Error"
            response["content"] = json_of(PROTOCOL_ERRORS.get(protocol_of(path), own))
        names = ("x-request-id", "retry-after") if status in RETRYABLE else ("x-request-id",)
        response["headers"] = {**headers_of(*names), **response.get("headers", {})}
