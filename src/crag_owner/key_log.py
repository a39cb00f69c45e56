"""``crag-owner key log``: who got which key, when, with which measurement, under which policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crag_core.command import command, console, option
from crag_core.errors import IntegrityViolated
from crag_owner.options import TrusteeSettings, trustee_options

if TYPE_CHECKING:
    from crag_core.trustee.releases import Release


@command("log")
@option("--limit", type=int, default=100, help="Show at most so many, the newest ones.")
@option("--released", is_flag=True, help="Show releases only, no refusals.")
@trustee_options
def log(limit: int, released: bool, trustee: TrusteeSettings) -> None:
    """Show who asked the Trustee for a key and whether it was released.

    crag's own Trustee chains its lines by their hashes; a line that was changed or taken out is
    found here (exit 12). What the gateway of another Trustee keeps is its own word.
    """
    from crag_core.trustee.kbs import resource_path
    from crag_owner.trustee_push import admin_client

    wanted = resource_path(trustee.resource) if trustee.resource else ""
    with admin_client(trustee) as admin:
        found = admin.key_releases(max(1, min(limit, 1000)), resource=wanted, released=released)
        broken = admin.audit_broken_at()
        kind = admin.server.kind
    shown = [
        release
        for release in found
        # A gateway may know less of filters than we ask.
        if (release.released or not released) and wanted in ("", release.resource)
    ]
    if broken is not None:
        raise IntegrityViolated(
            f"The Trustee's audit log was changed: line {broken} does not follow from the one "
            "before it.",
            hint="Restore it from a backup, and find out who can write in the Trustee's folder.",
            details={"line": broken, "releases": [release.as_json() for release in shown]},
        )

    def human() -> None:
        for release in shown:
            for line in _lines(release):
                console().line(line)
        if not shown:
            asked = "No such request is in the log." if wanted or released else ""
            console().line(asked or "No key was asked for.")

    console().result(
        {"trustee": trustee.url, "kind": kind, "releases": [one.as_json() for one in shown]}, human
    )


def _lines(release: Release) -> list[str]:
    outcome = "released" if release.released else f"refused ({release.reason or 'no reason told'})"
    made = f"{release.tee or 'unknown'} evidence"
    if release.insecure:
        made += ", made by software"
    lines = [f"{release.time}  kbs:///{release.resource}  {outcome}", f"  to       {made}"]
    for title, facts in (
        ("who", release.who),
        ("measured", release.measurement),
        ("policy", release.policy),
    ):
        lines += [f"  {title:<8} {name} {value}" for name, value in sorted(facts.items())]
    return lines
