"""``crag-user history``: what was verified before, and when it changed."""

from __future__ import annotations

import time
from typing import Any

import click

from crag_core.command import command, console, option
from crag_core.errors import UsageError
from crag_user.history import History, compare
from crag_user.service import Service
from crag_user.show import clean


@command("history")
@click.argument("url", required=False)
@option("--forget", is_flag=True, help="Remove what is known of URL; it then counts as new.")
def history(url: str | None, forget: bool) -> None:
    """Show what services were verified as before: times, verdicts, measurements, changes.

    The same outcome again and again is one entry with its first and last time. Nothing of any
    question or answer is kept.
    """
    out = console()
    known = History()
    if url is None:
        if forget:
            raise UsageError("--forget needs the URL of a service.", hint="Name it.")
        services = known.services()
    else:
        service = Service.parse(url).url
        if forget:
            gone = known.forget(service)
            told = "is forgotten" if gone else "was not known"
            out.result({"url": service, "forgotten": gone}, f"{service} {told}.")
            return
        services = [{"url": service, "entries": known.entries(service)}]
    result = {"services": [_with_changes(found) for found in services]}
    out.result(result, lambda: _show(result["services"]))


def _with_changes(service: dict[str, Any]) -> dict[str, Any]:
    entries = service["entries"]
    told = [
        {**entry, "changes": compare(entries[:place], entry)["changes"]}
        for place, entry in enumerate(entries)
    ]
    return {"url": service["url"], "entries": told}


def _show(services: list[dict[str, Any]]) -> None:
    out = console()
    if not any(service["entries"] for service in services):
        out.line("Nothing was verified before.")
    for service in services:
        out.line(clean(service["url"]))
        for entry in service["entries"]:
            for line in _lines(entry):
                out.line(f"  {line}")


def _lines(entry: dict[str, Any]) -> list[str]:
    span = _moment(entry["first"])
    if entry["count"] > 1:
        span += f" to {_moment(entry['last'])}, {entry['count']} times"
    marked = " INSECURE" if entry["insecure"] else ""
    why = f" by the check '{clean(entry['refused_by'])}'" if entry.get("refused_by") else ""
    lines = [f"{span}: {clean(entry['verdict'])}{why} ({clean(entry['tee'])}{marked})"]
    changed = {change["name"] for change in entry["changes"]}
    for name, value in entry["measurements"].items():
        mark = "CHANGED " if name in changed else "        "
        lines.append(f"  {mark}{clean(name)} {clean(value)}")
    lines += [f"  CHANGED {clean(name)}" for name in sorted(changed - set(entry["measurements"]))]
    return lines


def _moment(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
