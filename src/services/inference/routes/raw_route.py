"""A documented route whose endpoint takes the request itself, and the counting of predictions that failed."""

import functools
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from src.core.errors import InvalidInputError, ModelNotLoadedError
from src.services.inference.service_state import service_of
from src.services.inference.watch.metrics import INTERNAL, NO_MODEL
from src.services.inference.web.errors import IncompleteRequestError

Endpoint = Callable[[Request], Awaitable[Response]]
T = TypeVar("T")


class RawRoute(APIRoute):
    """FastAPI's own way to an endpoint (dependencies, two exit stacks) costs more than the prediction."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the endpoint; a wrong method goes the usual way."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        response = await cast(Endpoint, self.endpoint)(Request(scope, receive, send))
        await response(scope, receive, send)


def counting_errors(endpoint: Callable[[Request], Awaitable[T]]) -> Callable[[Request], Awaitable[T]]:
    """Count a prediction's failure by its reason, and raise it on."""

    @functools.wraps(endpoint)
    async def counted(request: Request) -> T:
        metrics = service_of(request).metrics
        try:
            return await endpoint(request)
        except InvalidInputError as error:
            metrics.prediction_error(error.kind)
            raise
        except ModelNotLoadedError:
            metrics.prediction_error(NO_MODEL)
            raise
        except (ClientDisconnect, IncompleteRequestError):
            raise
        except Exception:
            metrics.prediction_error(INTERNAL)
            raise

    return counted
