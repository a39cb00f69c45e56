"""Bring the service up step by step, and take all of it down whatever happens.

Order: measure, evidence source, the machine's register, keys, check values, model, language model,
collection, API, gateway. Nothing that a user could reach listens before the last step; every step's
undoing is registered as soon as the step is done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from crag_core.errors import CragError
from crag_core.store.settings import DatabaseSettings
from crag_provider.hardening import no_dumps, swaps, undisturbed
from crag_provider.settings import ProviderSettings

DRAIN_SECONDS = 20.0
WATCH_SECONDS = 0.5


@dataclass(frozen=True)
class Running:
    """A service that is up. ``watch`` says what has failed, empty while nothing has."""

    url: str
    health_url: str
    model: str
    insecure: bool
    access: str
    snapshot: Callable[[], dict[str, Any]]
    watch: Callable[[], str]
    drain: Callable[[float], bool]


def serve(
    settings: ProviderSettings,
    database: DatabaseSettings,
    *,
    say: Callable[[str], None],
    warn: Callable[[str], None],
    ready: Callable[[Running], None],
    stop: threading.Event | None = None,
) -> None:
    """Bring the service up, call ``ready``, and serve until SIGTERM, Ctrl-C or ``stop``.

    Raises:
        CragError: a step failed (its exit code says why), or a part ended while serving. Nothing
            listens, nothing is mounted and no child runs any more when it is raised.
    """
    from crag_provider.api.server import silence
    from crag_provider.rag.chain import forbid_tracing

    no_dumps()
    forbid_tracing()
    silence()
    stack = ExitStack()
    try:
        running = _bring_up(stack, settings, database, say, warn)
        try:
            ready(running)
            _watch(running, stop or threading.Event())
        except KeyboardInterrupt:
            say("finishing the answers that are being made")
        with undisturbed():
            running.drain(DRAIN_SECONDS)
    finally:
        with undisturbed():
            stack.close()


def _bring_up(
    stack: ExitStack,
    settings: ProviderSettings,
    database: DatabaseSettings,
    say: Callable[[str], None],
    warn: Callable[[str], None],
) -> Running:
    from crag_core.attestation.server import AttesterServer
    from crag_provider.assembly import assemble
    from crag_provider.egress import egress, require_free
    from crag_provider.evidence import evidence_source
    from crag_provider.key_release import released_keys
    from crag_provider.library import opened_library
    from crag_provider.llm.starting import started_llm
    from crag_provider.measuring import measure
    from crag_provider.model.opening import open_model

    require_free(settings.listen)
    measurement = measure(settings, say)
    chosen = evidence_source(settings, measurement, say)
    source = chosen.source
    if chosen.kind == "sample":
        warn(
            "the evidence of this service is made by software and proves nothing: use it for "
            "trying, never for documents that matter."
        )
    if source.measure():
        say("extended the machine's runtime register by the measurement")
    attester = stack.enter_context(AttesterServer(source))
    keys = released_keys(settings, source, say)
    stack.callback(keys.wipe)
    if not settings.data_key_check:
        warn(
            "No check value is pinned for the data key: whoever can answer in the place of the "
            "owner's Trustee could give a key and documents of their own. Set "
            "CRAG_PROVIDER_DATA_KEY_CHECK to what 'crag-owner key show' prints."
        )
    if swaps():
        warn(
            "This machine swaps memory to a disk, where keys and plaintext may end up readable: "
            "switch swap off."
        )
    if keys.anchor is None:
        warn(
            "--no-require-anchor, and the owner's Trustee releases no anchor: documents rolled "
            "back to an earlier state before this start would not be noticed."
        )
    model = None
    if settings.volume is not None and keys.model is not None:
        say("opening the encrypted model")
        model = stack.enter_context(
            open_model(
                settings.volume, keys.model.buffer, settings.opened_at, settings.model_access
            )
        )
        keys.model.wipe()
        if model.why:
            warn(f"The model is decrypted into memory: {model.why}.")
    say("starting the language model")
    llm = stack.enter_context(started_llm(settings, model))
    say("opening and verifying the collection")
    library = stack.enter_context(opened_library(settings, database, keys, say))
    parts = assemble(settings, measurement, source, llm, library)
    stack.enter_context(parts.server)
    say("starting the gateway")
    gateway = stack.enter_context(egress(settings, parts.server.port, attester.url))
    health = stack.enter_context(parts.health(lambda: _failed(gateway, parts, llm)))
    return Running(
        url=gateway.url,
        health_url=f"http://127.0.0.1:{health.port}",
        model=parts.service.model_id,
        insecure=parts.service.insecure,
        access=model.access if model else "none",
        snapshot=lambda: asdict(library.snapshot),
        watch=lambda: _failed(gateway, parts, llm),
        drain=parts.service.drain,
    )


def _failed(gateway: Any, parts: Any, llm: Any) -> str:
    if not gateway.alive:
        return "The gateway ended."
    if not parts.server.alive:
        return "The API ended."
    if llm is not None and not llm.alive():
        return "The language model ended."
    return ""


def _watch(running: Running, stop: threading.Event) -> None:
    while not stop.wait(WATCH_SECONDS):
        failed = running.watch()
        if failed:
            raise CragError(failed, hint="Start the service again; if it stays so, look at memory.")
