"""``crag-user ask``: one question, answered by a verified service, with its receipt checked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import click

from crag_core.command import command, console, option
from crag_core.errors import PolicyDenied, UsageError
from crag_core.gateway.endpoint import Endpoint, require_loopback
from crag_core.gateway.ownership import listeners
from crag_user.history import note_report
from crag_user.options import trust_options
from crag_user.service import Service
from crag_user.show import answer_lines, check_lines, report_lines
from crag_user.trust import INSECURE_WARNING, Trust

MAX_QUESTION = 32 * 1024


@command("ask")
@click.argument("question")
@option("--url", metavar="URL", help="The service, as its provider names it.")
@trust_options
@option(
    "--proxy",
    metavar="HOST:PORT",
    help="A running 'crag-user connect'; without it one is started for this question.",
)
@option("-k", "--passages", type=click.IntRange(1, 50), help="How many passages to draw on.")
@option(
    "--timeout",
    type=click.FloatRange(1, 3600),
    default=300.0,
    metavar="SECONDS",
    help="How long to wait for the answer.",
)
def ask(
    question: str,
    url: str | None,
    trust: Trust,
    proxy: str | None,
    passages: int | None,
    timeout: float,
) -> None:
    """Ask the service one QUESTION and show the answer, its sources, and what was verified.

    The question leaves this machine only after the service has proved itself. The answer is shown
    only if its receipt holds: signed by a key to which fresh evidence of the enclave is bound, over
    exactly this question and this answer.
    """
    if not url:
        raise UsageError(
            "No service is named.", hint="Name it with --url http://HOST:PORT or CRAG_USER_URL."
        )
    text = question.strip()
    if not text or len(text.encode("utf-8", "surrogatepass")) > MAX_QUESTION:
        raise UsageError(f"A question has 1 to {MAX_QUESTION} bytes.", hint="Shorten it.")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UsageError("The question is not UTF-8 text.", hint="Check the terminal's encoding.")
    plan = Plan(Service.parse(url), trust, _proxy(proxy), passages, timeout)
    if trust.allow_insecure:
        console().warn(INSECURE_WARNING)
    result = asyncio.run(_ask(text, plan))
    console().result(result, lambda: _show(plan.service, result))


def _proxy(text: str | None) -> Endpoint | None:
    if text is None:
        return None
    address = Endpoint.parse(text.removeprefix("http://").rstrip("/"), "proxy")
    require_loopback(address, "proxy")
    # It reads the question in the clear, before anything is verified.
    strangers = listeners(address.port) - {0, os.geteuid()}
    if strangers:
        raise PolicyDenied(
            f"What listens on {address} belongs to another user of this machine (uid "
            f"{min(strangers)}), who would read the question.",
            hint="Start 'crag-user connect' yourself on another port, or leave --proxy out.",
            code="foreign-proxy",
        )
    return address


@dataclass(frozen=True)
class Plan:
    """What one run of ``ask`` was told."""

    service: Service
    trust: Trust
    proxy: Endpoint | None
    passages: int | None
    timeout: float


@contextlib.asynccontextmanager
async def _way(plan: Plan) -> AsyncIterator[tuple[Endpoint, dict[str, Any] | None]]:
    """The proxy to use, and the report on the service if we verified it for this question."""
    if plan.proxy is not None:
        yield plan.proxy, None
        return
    from crag_user.session import opened

    console().progress(f"verifying {plan.service.url}")
    async with opened(plan.service, plan.trust, answer_seconds=plan.timeout) as link:
        console().progress_end()
        report = note_report(plan.service.url, link.judgement.report.as_json())
        console().progress("asking")
        yield link.proxy, report


async def _ask(question: str, plan: Plan) -> dict[str, Any]:
    from crag_user.answer import checked
    from crag_user.http import ServiceClient

    started = time.monotonic()
    async with _way(plan) as (proxy, report):
        verified = time.monotonic()
        async with ServiceClient.opened(plan.service, proxy, plan.timeout) as client:
            body: dict[str, Any] = {"question": question}
            if plan.passages is not None:
                body["k"] = plan.passages
            reply = await client.json("POST", "/rag/query", body)
            answered = time.monotonic()
            result = await checked(client, reply, question, plan.trust, report)
    if report is None:
        noted = note_report(plan.service.url, result["attestation"])
        result = {**result, "attestation": noted}
    console().progress_end()
    own = {
        "verify": round((verified - started) * 1000, 1),
        "ask": round((answered - verified) * 1000, 1),
        "receipt": round((time.monotonic() - answered) * 1000, 1),
        "total": round((time.monotonic() - started) * 1000, 1),
    }
    return {**result, "timings_ms": {**result["timings_ms"], **own}}


def _show(service: Service, result: dict[str, Any]) -> None:
    out = console()
    out.line("\n".join(answer_lines(result["answer"], result["citations"], result["mode"])))
    out.line("\nVerified")
    out.line("\n".join(report_lines(service.url, result["attestation"])))
    out.line("\n".join(check_lines(result["verified"])))
