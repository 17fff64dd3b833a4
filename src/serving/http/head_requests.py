"""HEAD requests: answered as GET, without the body."""

from collections.abc import Set as AbstractSet

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadMiddleware:
    """Passes a HEAD request on as GET and sends the head of its answer only.

    Args:
        app: the inner application, whose routes need no HEAD of their own.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        # A copy: server and metrics see the client's method.
        await self._app({**scope, "method": "GET"}, receive, send_head)


def with_head(methods: AbstractSet[str]) -> set[str]:
    """A route's methods as its clients see them: HEAD wherever there is GET."""
    return {*methods, "HEAD"} if "GET" in methods else {*methods}
