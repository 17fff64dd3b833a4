"""The service's OpenAPI document, with the columns and classes of the served model.

How to document a route: FastAPI's parameters describe it; this module adds what is the same for all routes.

- Answers go into ``responses`` of the route, by status. A status from 400 on without ``content`` gets the shape of its
  path's errors (``serving.http.errors``). 500 and refusals before the route are added. The listed statuses are
  also the metrics' series that exist at 0 from the start.
- ``routes.endpoints.documented`` describes the bodies of a prediction, which no parameter of its endpoint does.
- Schemas, headers and parameters are named: they stand in ``schemas.yaml``; ``model_schemas`` adds what a model has.
  Those parameters that occur in a route's path are added.
"""

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from fastapi import FastAPI
from pydantic import SecretStr

from src.services.inference.openapi.model_schemas import Schema, content_of, ref, schemas_of, static_components
from src.serving.http.errors import schema_of
from src.serving.models.predictor import Predictor

SCHEME = "WriteKey"
INVALID_INPUT = "422"
RETRYABLE = frozenset({"429", "503"})


@dataclass
class Document:
    """Builds the document; may be called from any thread.

    Routes are read at the first call, which takes tens of milliseconds; the model's part is rebuilt for each model. No
    model is kept.
    """

    app: FastAPI
    current: Callable[[], Predictor | None]
    exempt: Collection[str]  # paths that are answered even under overload
    keys: Mapping[str, SecretStr | None]  # of the paths that change something; None for no key
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _made: tuple[object, Schema] = field(default=("nothing yet", {}), init=False)

    def __call__(self) -> Schema:
        """The current document, which is shared and must not be changed."""
        with self._lock:
            predictor = self.current()
            shown = predictor and (predictor.version, predictor.loaded_at)
            if self._made[0] != shown:
                components = self._routes["components"]
                schemas = components["schemas"] | schemas_of(predictor)
                self._made = shown, self._routes | {"components": components | {"schemas": schemas}}
            return self._made[1]

    @cached_property
    def _routes(self) -> Schema:
        document = FastAPI.openapi(self.app)
        components = document["components"]
        components |= {name: made for name, made in static_components().items() if name != "schemas"}
        # The service's errors do not have FastAPI's shapes.
        for name in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(name, None)
        if any(self.keys.get(path) for path in document["paths"]):
            components["securitySchemes"] = {SCHEME: {"type": "http", "scheme": "bearer"}}
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                self._complete(path, method, operation)
        return document

    def _complete(self, path: str, method: str, operation: Schema) -> None:
        """Add to a route the refusals before it, and what is the same for all; what it documents itself is kept."""
        refused = {"400": "Host header not allowed (ALLOWED_HOSTS)", "500": "The service failed; its log says why"}
        if path not in self.exempt:
            refused["503"] = "Too many requests; Retry-After says when to try again"
        if "requestBody" in operation:
            refused |= {"408": "The request was not received completely in time", "415": "The body is compressed"}
        if method != "get" and path in self.keys:
            refused["403"] = "A browser sent it from a page of another site"
        if method != "get" and self.keys.get(path):
            refused["401"] = "The bearer token is missing or wrong"
            operation["security"] = [{SCHEME: []}]
        named = {f"{{{about['name']}}}": name for name, about in static_components()["parameters"].items()}
        if in_path := [name for variable, name in named.items() if variable in path]:
            operation["parameters"] = [ref(name, "parameters") for name in in_path] + operation.get("parameters", [])
        responses = {status: {"description": text} for status, text in refused.items()} | operation["responses"]
        operation["responses"] = responses
        for status, response in responses.items():
            content = response.get("content")
            if status >= "400" and (not content or "HTTPValidationError" in str(content)):
                own = "InvalidInput" if status == INVALID_INPUT else "Error"
                response["content"] = content_of({"application/json": schema_of(path) or own})
            names = ("x-request-id", "retry-after") if status in RETRYABLE else ("x-request-id",)
            response["headers"] = {name: ref(name, "headers") for name in names} | response.get("headers", {})
