"""What every request passes: a limit on its body, and its count and time."""

import logging
import time

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import HTTP_ERROR, error_response
from serving.metrics import Metrics

_logger = logging.getLogger(__name__)
_BUG = "the request failed unexpectedly; the log of the server has the reason"


class _TooLargeError(HTTPException):
    """The body has more bytes than the limit. FastAPI lets only its own kind of exception out of reading a body."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"the body has more than {limit} bytes; send fewer events or exclusions in one request")


class Boundary:
    """Plain ASGI, because a middleware that wraps requests and responses costs more than scoring does."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, max_body_bytes: int) -> None:
        """Wrap `app`."""
        self._app = app
        self._metrics = metrics
        self._limit = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, counted, timed, and with a bounded body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), None

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if _content_length(scope) > self._limit:
                raise _TooLargeError(self._limit)
            await self._app(scope, _bounded(receive, self._limit), counted)
        except _TooLargeError as error:
            await error_response(error.status_code, HTTP_ERROR, error.detail)(scope, receive, counted)
        except Exception:
            # A bug: the log has its inside, the answer does not. Further up it would also cost the connection.
            _logger.exception("%s %s failed", scope["method"], scope["path"])
            if status is not None:
                raise
            await error_response(500, "InternalError", _BUG)(scope, receive, counted)
        finally:
            route = _route(scope)
            self._metrics.requests.labels(route, str(status or 500)).inc()
            self._metrics.request_seconds.labels(route).observe(time.perf_counter() - started)


def _content_length(scope: Scope) -> int:
    value = dict(scope["headers"]).get(b"content-length", b"0")
    return int(value) if value.isdigit() else 0


def _bounded(receive: Receive, limit: int) -> Receive:
    left = limit

    async def bounded() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise _TooLargeError(limit)
        return message

    return bounded


def _route(scope: Scope) -> str:
    """The route's template; a path nobody serves is one label, or a scanner would fill the memory with labels."""
    route = scope.get("route")
    return getattr(route, "path", "unknown")
