"""One place turns exceptions into answers: `{"error": {"type", "message"}}` with the error's status."""

import logging

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pipelines.errors import RequestError, TandemError

_logger = logging.getLogger(__name__)
HTTP_ERROR = "HTTPError"


def error_response(status: int, kind: str, message: str) -> Response:
    """Return the one shape of every failure."""
    headers = {"Retry-After": "1"} if status == 503 else {}
    body = orjson.dumps({"error": {"type": kind, "message": message}})
    return Response(body, status, headers, media_type="application/json")


async def tandem_error(request: Request, error: Exception) -> Response:
    """Answer with the status that the error's class names."""
    status = error.status_code if isinstance(error, TandemError) else 500
    if status >= 500 and status != 503:
        _logger.error("%s %s failed: %s", request.method, request.url.path, error)
    return error_response(status, type(error).__name__, str(error))


async def invalid_request(request: Request, error: Exception) -> Response:
    """Answer a body or parameter that breaks the schema, naming each field."""
    problems = error.errors() if isinstance(error, RequestValidationError) else []
    text = "; ".join(f"{'.'.join(map(str, p['loc'][1:])) or 'body'}: {p['msg']}" for p in problems[:5])
    return error_response(
        RequestError.status_code, RequestError.__name__, f"the request is not valid: {text}. See /docs"
    )


async def http_error(request: Request, error: Exception) -> Response:
    """Answer what the framework itself refuses: an unknown path or method."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    return error_response(
        status, HTTP_ERROR, f"{request.method} {request.url.path}: {getattr(error, 'detail', error)}. See /docs"
    )


def install_error_handlers(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(TandemError, tandem_error)
    app.add_exception_handler(RequestValidationError, invalid_request)
    app.add_exception_handler(HTTPException, http_error)
