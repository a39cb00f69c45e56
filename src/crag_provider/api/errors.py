"""Errors in the shape that OpenAI's clients expect, none of which repeats what was sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from crag_core.errors import (
    BadInput,
    CragError,
    IntegrityViolated,
    NotSupported,
    PolicyDenied,
    Unreachable,
)

_STATUS: tuple[tuple[type[CragError], int, str], ...] = (
    (BadInput, 400, "invalid_request_error"),
    (PolicyDenied, 403, "permission_error"),
    (NotSupported, 400, "invalid_request_error"),
    (IntegrityViolated, 500, "integrity_error"),
    (Unreachable, 503, "overloaded_error"),
)


def body(message: str, kind: str, code: str | None, param: str | None = None) -> dict[str, Any]:
    """``{"error": {"message", "type", "param", "code"}}``."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def of(error: CragError) -> tuple[int, dict[str, Any]]:
    """Status and body for an error of ours."""
    for known, status, kind in _STATUS:
        if isinstance(error, known):
            return status, body(error.message, kind, error.code)
    return 500, body(error.message, "server_error", error.code)


def defect(error: Exception) -> dict[str, Any]:
    """The body for an error that is not ours: its type, never its text."""
    return body(f"The service failed ({type(error).__name__}).", "server_error", "defect")


def install(app: FastAPI) -> None:
    """Answer every error of ``app`` in this shape."""

    async def ours(_request: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, CragError):
            return JSONResponse(defect(error), 500)
        status, content = of(error)
        return JSONResponse(content, status)

    async def invalid(_request: Request, error: Exception) -> JSONResponse:
        fields = error.errors() if isinstance(error, RequestValidationError) else []
        where = ".".join(str(part) for part in fields[0]["loc"][1:]) if fields else ""
        said = f" ({fields[0]['type']})" if fields else ""
        message = f"The request's {where or 'body'} cannot be used{said}."
        return JSONResponse(body(message, "invalid_request_error", "bad-input", where or None), 400)

    async def http(_request: Request, error: Exception) -> JSONResponse:
        status = error.status_code if isinstance(error, HTTPException) else 500
        message = {404: "There is nothing here.", 405: "This method is not for this address."}
        kind = "invalid_request_error" if status < 500 else "server_error"
        return JSONResponse(
            body(message.get(status, "The request failed."), kind, "not-found"), status
        )

    handlers: dict[type[Exception], Callable[[Request, Exception], Awaitable[JSONResponse]]] = {
        CragError: ours,
        RequestValidationError: invalid,
        HTTPException: http,
        Exception: ours,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
