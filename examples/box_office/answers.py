"""What a client is told when it does not work."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from necrostack import BackendFull
from necrostack.errors import BackendUnavailable, EventTooLarge


async def not_now(_: Request, error: Exception) -> Response:
    """It is we who cannot. What was asked for may have been kept nevertheless: the same request again does no harm."""
    return JSONResponse({"error": "not now"}, 503, {"Retry-After": "2"})


async def too_large(_: Request, error: Exception) -> Response:
    """There is more in it than an event may hold."""
    return JSONResponse({"error": str(error)}, 413)


async def not_understood(_: Request, error: Exception) -> Response:
    """It is not what it should be. What it was instead is not repeated: it may be secret."""
    assert isinstance(error, ValidationError), "registered for this alone"
    return JSONResponse({"error": error.errors(include_url=False, include_context=False, include_input=False)}, 422)


ANSWERS: Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    BackendUnavailable: not_now,
    BackendFull: not_now,
    EventTooLarge: too_large,
    ValidationError: not_understood,
}
