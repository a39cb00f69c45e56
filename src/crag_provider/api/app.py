"""The ASGI applications: the API behind the gateway, and health for this machine only."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from crag_provider.api import errors
from crag_provider.api.limits import Limits
from crag_provider.api.openai_routes import openai_routes
from crag_provider.api.rag_routes import rag_routes
from crag_provider.service import RagService


def api(service: RagService) -> FastAPI:
    """The API that the gateway hands requests to."""
    app = FastAPI(title="crag", docs_url=None, redoc_url=None, openapi_url=None)
    errors.install(app)
    app.include_router(rag_routes(service))
    app.include_router(openai_routes(service))
    app.add_middleware(Limits, insecure=service.insecure)
    return app


def health(ready: Callable[[], str]) -> FastAPI:
    """``/healthz`` and ``/readyz``; ``ready`` says what is wrong, empty where nothing is."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    errors.install(app)

    @app.get("/healthz")
    def healthz() -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    @app.get("/readyz")
    def readyz() -> PlainTextResponse:
        wrong = ready()
        return PlainTextResponse(f"{wrong or 'ok'}\n", 503 if wrong else 200)

    return app
