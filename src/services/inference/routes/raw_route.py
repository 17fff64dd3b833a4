"""A documented route whose endpoint takes the raw request, and what the endpoints have in common."""

import functools
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from src.core.errors import InvalidInputError, ModelNotLoadedError
from src.services.inference.service_state import service_of
from src.serving.http.errors import IncompleteRequestError, InvalidParameterError
from src.serving.models.admission import OverloadedError
from src.serving.protocols.encoders import EXTRA
from src.serving.tables.extra_columns import ExtraColumns
from src.serving.watch.metrics import INTERNAL, NO_MODEL

JSON = "application/json"
Endpoint = Callable[[Request], Awaitable[Response]]
T = TypeVar("T")


class RawRoute(APIRoute):
    """A route without FastAPI's dependencies and exit stacks, which cost more than a prediction."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the endpoint; a wrong method is handled by FastAPI."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        response = await cast(Endpoint, self.endpoint)(Request(scope, receive, send))
        await response(scope, receive, send)


def counting_errors(endpoint: Callable[[Request], Awaitable[T]]) -> Callable[[Request], Awaitable[T]]:
    """Count a failed prediction by its reason, and raise the error."""

    @functools.wraps(endpoint)
    async def counted(request: Request) -> T:
        try:
            return await endpoint(request)
        except (ClientDisconnect, IncompleteRequestError, OverloadedError):
            raise
        except Exception as error:
            if isinstance(error, InvalidInputError):
                reason = error.kind
            else:
                reason = NO_MODEL if isinstance(error, ModelNotLoadedError) else INTERNAL
            service_of(request).metrics.prediction_failed(reason)
            raise

    return counted


def extra_columns_of(request: Request) -> ExtraColumns:
    """The query parameter that says what to do with columns that the model does not take.

    Raises:
        InvalidParameterError: its value is none of ``ExtraColumns``.
    """
    try:
        return ExtraColumns(request.query_params.get(EXTRA, ExtraColumns.REFUSE))
    except ValueError:
        raise InvalidParameterError(f"{EXTRA} must be one of {', '.join(ExtraColumns)}", EXTRA) from None
