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
from src.serving.protocols.answer_json import EXTRA
from src.serving.tables.extra_columns import ExtraColumns
from src.serving.watch.metrics import INTERNAL, NO_MODEL

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
        metrics = service_of(request).metrics
        try:
            return await endpoint(request)
        except InvalidInputError as error:
            metrics.prediction_errors[error.kind].inc()
            raise
        except ModelNotLoadedError:
            metrics.prediction_errors[NO_MODEL].inc()
            raise
        except (ClientDisconnect, IncompleteRequestError, OverloadedError):
            raise
        except Exception:
            metrics.prediction_errors[INTERNAL].inc()
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
