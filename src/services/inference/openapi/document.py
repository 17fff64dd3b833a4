"""The service's OpenAPI document, with the columns and classes of the served model.

How to document a route: FastAPI's parameters describe it; this module adds what is the same for all routes.

- Answers go into ``responses`` of the route, by status. A status from 400 on without ``content`` gets the shape of its
  path's errors (``serving.http.error_shapes``). Refusals before the route (``refusals``) and 500 are added
  automatically. The listed statuses are also the metrics' series that exist at 0 from the start.
- A body that no parameter describes is given in ``openapi_extra={"requestBody": body_of(…)}``.
- ``content_of`` refers to schemas by name: they stand in ``schemas.yaml``, and ``model_schemas`` adds what a model has.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from src.services.inference.openapi.model_schemas import Schema, ref, schemas_of, static_components
from src.services.inference.openapi.refusals import Refusals
from src.serving.http.error_shapes import PROTOCOL_ERRORS, protocol_of
from src.serving.models.predictor import Predictor

FAILED = "The service failed; its log says why"
INVALID_INPUT = "422"
RETRYABLE = frozenset({"429", "503"})


def content_of(schemas: Mapping[str, str]) -> dict[str, Any]:
    """The ``content`` of a body: schemas of the document by media type."""
    return {media_type: {"schema": ref(name)} for media_type, name in schemas.items()}


def json_of(name: str) -> dict[str, Any]:
    """The ``content`` of a JSON body."""
    return content_of({"application/json": name})


def body_of(schemas: Mapping[str, str]) -> dict[str, Any]:
    """The ``requestBody`` of a route."""
    return {"required": True, "content": content_of(schemas)}


def headers_of(*names: str) -> dict[str, Any]:
    """The ``headers`` of an answer, by their names in ``schemas.yaml``."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def parameters_of(*names: str) -> list[dict[str, Any]]:
    """The ``parameters`` of a route, by their names in ``schemas.yaml``."""
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


MODEL_HEADERS = headers_of("x-model-name", "x-model-version")


class Document:
    """Builds the document; may be called from any thread.

    Routes are read once, which takes tens of milliseconds; the model's part is rebuilt for each. No model is kept.

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
        self._made: tuple[object, Schema] | None = None

    def __call__(self) -> Schema:
        """The current document, which is shared and must not be changed."""
        with self._lock:
            predictor = self._current()
            shown = predictor and (predictor.version, predictor.loaded_at)
            if self._made is None or self._made[0] != shown:
                self._routes = self._routes or self._of_routes()
                self._made = (shown, _with_model(self._routes, predictor))
            return self._made[1]

    def _of_routes(self) -> Schema:
        app = self._app
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        # Relative to the document's address: a proxy may add a prefix to all paths.
        document["servers"] = [{"url": "."}]
        document["components"] |= {name: made for name, made in static_components().items() if name != "schemas"}
        # The service's errors do not have FastAPI's shapes.
        for name in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(name, None)
        self._refusals.describe(document)
        for path, operations in document["paths"].items():
            for operation in operations.values():
                _complete(path, operation["responses"])
        return document


def _with_model(routes: Schema, predictor: Predictor | None) -> Schema:
    components = routes["components"]
    return {**routes, "components": {**components, "schemas": components["schemas"] | schemas_of(predictor)}}


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
