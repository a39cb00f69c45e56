"""The routes: KBS under ``/kbs/v0`` and ``/api/kbs/v0``, attestation service under ``/api``.

A gateway in front of the real Trustee serves the paths with ``/api``; clients are configured with
either. Every write and every listing needs the admin's JWT, checked before a body is read.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from time import time
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from crag_core.trustee.local import jws
from crag_core.trustee.local.admin_auth import require_admin
from crag_core.trustee.local.administration import Administration, as_json
from crag_core.trustee.local.attestation_service import AttestationService
from crag_core.trustee.local.identity import Identity
from crag_core.trustee.local.kbs import Credentials, Kbs
from crag_core.trustee.local.limits import BodyTooLarge, Guard, read_body
from crag_core.trustee.local.posture import STRICT, Posture
from crag_core.trustee.local.rates import Rate, Rates
from crag_core.trustee.local.replies import (
    AsRefusal,
    KbsRefusal,
    plain,
    too_many,
    too_many_appraisals,
)

COOKIE = "kbs-session-id"
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Parts:
    """What the routes are made of."""

    identity: Identity
    kbs: Kbs
    service: AttestationService
    administration: Administration
    posture: Posture = STRICT
    rates: Rates = field(default_factory=Rates)


def build(parts: Parts) -> Guard:
    """The ASGI application of one Trustee."""
    kbs, service = _kbs_routes(parts), _as_routes(parts)
    routes = [
        Mount("/kbs/v0", routes=kbs),
        Mount("/api/kbs/v0", routes=kbs),
        Mount("/api/attestation-service", routes=service),
        Mount("/api/as", routes=service),
        Mount("/api/audit", routes=_audit_routes(parts)),
        *_vendor_routes(parts),
        Route("/api/health", _health),
    ]

    async def unknown(_request: Request, _error: Exception) -> Response:
        return plain(404, "There is no such path here.")

    async def method(_request: Request, _error: Exception) -> Response:
        return plain(405, "That path is not served with this method.")

    async def failed(_request: Request, error: Exception) -> Response:
        if isinstance(error, OSError) and error.errno in _NO_SPACE:
            why = os.strerror(error.errno)
            return plain(507, f"The Trustee cannot write to its folder ({why}); nothing was done.")
        return plain(500, "The request failed inside the Trustee.")

    handlers: dict[Any, Any] = {404: unknown, 405: method, Exception: failed}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return Guard(app)


async def _health(_request: Request) -> Response:
    return _json({"status": "ok"})


def _json(value: Any) -> Response:
    return Response(as_json(value), media_type="application/json")


def _text(value: str) -> Response:
    return Response(value, media_type="text/xml")


def _done(_value: None) -> Response:
    return Response(status_code=200, media_type="text/xml")


def _guarded(endpoint: Endpoint) -> Endpoint:
    """``endpoint`` with its refusals turned into answers."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (KbsRefusal, AsRefusal) as refusal:
            return refusal.response()
        except BodyTooLarge:
            return plain(413, "The body is too large.")

    return answer


def _limited(rate: Rate, endpoint: Endpoint, *, service: bool = False) -> Endpoint:
    """``endpoint`` for anybody, as often as ``rate`` lets it; refused before a body is read.

    ``service``: it is the attestation service's, whose refusals have another form.
    """

    async def answer(request: Request) -> Response:
        if not rate.take():
            raise too_many_appraisals() if service else too_many("requests")
        return await endpoint(request)

    return _guarded(answer)


def _for_admin(parts: Parts, endpoint: Endpoint, *, vendor_open: bool = False) -> Endpoint:
    """``endpoint`` for the admin only, who is recognised before anything is read.

    ``vendor_open``: the vendor's Trustee serves it to anybody.
    """
    identity = parts.identity
    if vendor_open and parts.posture.open_administration:
        return _guarded(endpoint)

    async def answer(request: Request) -> Response:
        try:
            require_admin(request.headers.get("authorization", ""), identity.admin)
        except jws.BadToken as error:
            detail = f"Admin auth error: Admin Token verification failed: {error}"
            raise KbsRefusal(401, "AdminAuth", detail) from None
        return await endpoint(request)

    return _guarded(answer)


def _kbs_routes(parts: Parts) -> list[Route]:
    kbs, admin, rates = parts.kbs, parts.administration, parts.rates

    async def auth(request: Request) -> Response:
        session, challenge = await run_in_threadpool(kbs.auth, await read_body(request))
        response = _json(challenge)
        # No Path, as the real one: the cookie then belongs to this prefix alone.
        expires = formatdate(time() + kbs.sessions.lifetime, usegmt=True)
        response.headers["set-cookie"] = (
            f"{COOKIE}={session.id}; Expires={expires}; HttpOnly; SameSite=Strict"
        )
        return response

    async def attest(request: Request) -> Response:
        session_id = request.cookies.get(COOKIE, "")
        token = await run_in_threadpool(kbs.attest, session_id, await read_body(request))
        return _json({"token": token})

    async def release(request: Request) -> Response:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        credentials = Credentials(
            session_id=request.cookies.get(COOKIE, ""),
            attestation=request.headers.get("attestation", ""),
            bearer=bearer if scheme.lower() == "bearer" else "",
        )
        return _json(await run_in_threadpool(kbs.release, _path(request, "name"), credentials))

    async def register_list(_request: Request) -> Response:
        return plain(501, "Reference values from a transparency log are not supported here.")

    return [
        Route("/auth", _guarded(auth), methods=["POST"]),
        Route("/attest", _limited(rates.appraisals, attest), methods=["POST"]),
        Route("/resource/{name:path}", _limited(rates.releases, release), methods=["GET"]),
        *_admin_routes(
            parts,
            [
                ("/resource/{name:path}", "POST", admin.set_resource, _done),
                ("/resource/{name:path}", "DELETE", admin.delete_resource, _done),
                ("/resources", "GET", admin.list_resources, _json),
                ("/resource-policy", "GET", admin.resource_policy, _text),
                ("/resource-policy", "POST", admin.set_resource_policy, _done),
                ("/resource-policies", "GET", admin.resource_policies, _json),
                ("/resource-policy/{name:path}", "GET", admin.resource_policy, _text),
                ("/resource-policy/{name:path}", "POST", admin.set_resource_policy, _done),
                ("/resource-policy/{name:path}", "DELETE", admin.delete_resource_policy, _done),
                ("/attestation-policy", "POST", admin.set_attestation_policy, _done),
                ("/attestation-policy/{name}", "GET", admin.attestation_policy, _text),
                ("/attestation-policy/{name}", "DELETE", admin.delete_attestation_policy, _done),
                ("/attestation-policies", "GET", admin.attestation_policies, _json),
                ("/rvps/query", "GET", admin.reference_values, _json),
                ("/rvps/expiries", "GET", admin.reference_value_expiries, _json),
                ("/rvps/register", "POST", admin.register_reference_values, _done),
                ("/rvps/delete/{name}", "DELETE", admin.delete_reference_value, _done),
            ],
        ),
        Route(
            "/rvps/set_reference_value_list",
            _for_admin(parts, register_list),
            methods=["POST"],
        ),
    ]


def _as_routes(parts: Parts) -> list[Route]:
    service, admin, identity = parts.service, parts.administration, parts.identity
    rates = parts.rates

    async def certificate(_request: Request) -> Response:
        if parts.posture.open_administration:
            return plain(404, "No certificate configured")
        return Response(identity.ca_pem, media_type="application/x-pem-file")

    async def challenge(request: Request) -> Response:
        await read_body(request)
        return _json(await run_in_threadpool(service.challenge))

    async def attestation(request: Request) -> Response:
        token = await run_in_threadpool(service.attest, await read_body(request))
        return Response(token)

    def listing(found: dict[str, str]) -> Response:
        return _json([{"policy-id": i, "policy-hash": h} for i, h in found.items()])

    return [
        Route("/certificate", certificate, methods=["GET"]),
        Route("/challenge", _limited(rates.challenges, challenge, service=True), methods=["POST"]),
        Route(
            "/attestation", _limited(rates.appraisals, attestation, service=True), methods=["POST"]
        ),
        *_admin_routes(
            parts,
            [
                ("/policy", "GET", admin.attestation_policies, listing),
                ("/policies", "GET", admin.attestation_policies, listing),
                ("/policy", "POST", admin.set_attestation_policy, _done),
                ("/policy/{name}", "GET", admin.attestation_policy, _text),
                ("/policy/{name}", "DELETE", admin.delete_attestation_policy, _done),
            ],
        ),
    ]


def _vendor_routes(parts: Parts) -> list[Mount]:
    """The gateway's own path for reference values, as Trustee 1.5.2 has it."""
    if not parts.posture.open_administration:
        return []
    admin = parts.administration
    table: list[tuple[str, str, Callable[..., Any], Callable[[Any], Response]]] = [
        ("/query", "GET", admin.reference_values, _json),
        ("/register", "POST", admin.register_reference_values, _done),
        ("/delete/{name}", "DELETE", admin.delete_reference_value, _done),
    ]
    routes = [
        Route(path, _guarded(_call(path, method, act, reply)), methods=[method])
        for path, method, act, reply in table
    ]
    return [Mount("/api/rvps", routes=routes)]


def _audit_routes(parts: Parts) -> list[Route]:
    async def resources(request: Request) -> Response:
        query = dict(request.query_params)
        return _json(await run_in_threadpool(parts.administration.resource_requests, query))

    endpoint = _for_admin(parts, resources, vendor_open=True)
    return [Route("/resources", endpoint, methods=["GET"])]


# What the vendor's Trustee 1.5.2 asks nobody's key for, as far as we serve it.
_VENDOR_OPEN = ("/resources", "/attestation-polic", "/rvps/", "/policy", "/policies")


def _admin_routes(
    parts: Parts,
    table: list[tuple[str, str, Callable[..., Any], Callable[[Any], Response]]],
) -> list[Route]:
    """Routes for the admin: path, method, what to call (with name and body), how to answer."""
    return [
        Route(
            path,
            _for_admin(
                parts,
                _call(path, method, act, reply),
                vendor_open=path.startswith(_VENDOR_OPEN),
            ),
            methods=[method],
        )
        for path, method, act, reply in table
    ]


def _call(
    path: str, method: str, act: Callable[..., Any], reply: Callable[[Any], Response]
) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        arguments: list[Any] = [_path(request, "name")] if "{name" in path else []
        if method == "POST":
            arguments.append(await read_body(request))
        return reply(await run_in_threadpool(act, *arguments))

    return endpoint


def _path(request: Request, name: str) -> str:
    return str(request.path_params[name])
