"""``crag-provider serve``."""

from __future__ import annotations

from crag_core.command import command, console
from crag_core.store.options import DatabaseSettings, database_options
from crag_provider.options import provider_options
from crag_provider.settings import ProviderSettings


@command("serve")
@provider_options
@database_options
def serve(settings: ProviderSettings, database: DatabaseSettings) -> None:
    """Prove what runs here, get the keys, and answer questions until stopped.

    Prints its address once it answers. If any step fails, nothing listens, nothing is mounted, and
    the exit code says why.
    """
    from crag_provider.bringup import Running
    from crag_provider.bringup import serve as run

    out = console()

    def step(text: str) -> None:
        out.note(text)
        out.event("step", text=text)

    def ready(running: Running) -> None:
        facts = {
            "ready": True,
            "url": running.url,
            "health": running.health_url,
            "model": running.model,
            "model_access": running.access,
            "collection": settings.collection,
            "snapshot": running.snapshot(),
            "insecure": running.insecure,
        }
        out.result(facts, running.url)
        out.note(f"health, for this machine only: {running.health_url}/readyz")

    run(settings, database, say=step, warn=out.warn, ready=ready)
