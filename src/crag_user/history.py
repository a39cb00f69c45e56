"""What was verified before, service by service, so that a change of what runs there is noticed.

One file for each service under ``CRAG_HOME/user/history``: verdicts, times and measurements, and
nothing of what was asked. The same outcome again extends the last entry; only a new one adds one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crag_core.command import console
from crag_core.config import home, private_dir, write_private
from crag_core.errors import BadInput

FORMAT = "crag/history/v1"
MAX_ENTRIES = 200
MAX_FILE = 4 * 1024 * 1024
# These differ with each quote or with the platform's patches, not with what runs.
_FRESH = frozenset({"report_data", "tee_tcb_svn", "tee_tcb_svn_2", "tcb_svn"})
_AFFIRMING = "affirming"


class History:
    """The history of all services of this user."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or home() / "user" / "history"

    def path(self, url: str) -> Path:
        """The file of the service at ``url`` (normalised)."""
        return self.folder / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.json"

    def services(self) -> list[dict[str, Any]]:
        """Every service: ``{"url", "entries": [...]}``, oldest entry first, sorted by URL.

        Raises:
            BadInput: a file is damaged, or cannot be read.
        """
        found = [_load(path) for path in sorted(self.folder.glob("*.json"))]
        return sorted(found, key=lambda service: str(service["url"]))

    def entries(self, url: str) -> list[dict[str, Any]]:
        """The entries of one service, oldest first; empty where it is not known.

        Raises:
            BadInput: its file is damaged, or is another service's.
        """
        path = self.path(url)
        if not path.exists():
            return []
        found = _load(path)
        if found["url"] != url:
            raise _damaged(path)
        return list(found["entries"])

    def note(self, url: str, report: Mapping[str, Any], now: int | None = None) -> dict[str, Any]:
        """Add the outcome of a verification, and say how it compares with the last good one.

        Args:
            report: the object of ``crag-user verify --json``.
            now: unix seconds.

        Returns:
            ``{"known", "changed", "previous": {"measurements", "tee", "insecure", "first", "last"}
            or null, "changes": [{"name", "was", "is"}]}``. Only what was affirmed is compared:
            nobody vouches for the measurements in a refusal.

        Raises:
            BadInput: the service's file is damaged or cannot be written.
        """
        private_dir(self.folder)
        with self._locked():
            entries = self.entries(url)
            at = int(time.time()) if now is None else now
            entry = _entry(report, at)
            comparison = compare(entries, entry)
            same = entries and _same(entries[-1], entry)
            if same:
                entries[-1] = {**entries[-1], "last": at, "count": entries[-1]["count"] + 1}
            else:
                entries.append(entry)
            kept = _kept(entries)
            body = {"format": FORMAT, "url": url, "entries": kept}
            try:
                write_private(self.path(url), json.dumps(body, indent=1).encode())
            except OSError as error:
                raise BadInput(
                    f"The history in {self.folder} cannot be written: {error.strerror}.",
                    hint="Free space there, or name another folder with CRAG_HOME.",
                ) from None
        return comparison

    def forget(self, url: str) -> bool:
        """Remove the history of one service; whether there was any."""
        if not self.folder.is_dir():
            return False
        with self._locked():
            path = self.path(url)
            existed = path.exists()
            path.unlink(missing_ok=True)
        return existed

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def compare(entries: list[dict[str, Any]], entry: Mapping[str, Any]) -> dict[str, Any]:
    """How an affirmed ``entry`` differs from the last affirmed one of ``entries``."""
    earlier = [found for found in entries if found["verdict"] == _AFFIRMING]
    if not earlier or entry["verdict"] != _AFFIRMING:
        return {"known": bool(earlier), "changed": False, "previous": None, "changes": []}
    last = earlier[-1]
    was, now = _compared(last), _compared(entry)
    changes = [
        {"name": name, "was": was.get(name), "is": now.get(name)}
        for name in sorted(was.keys() | now.keys())
        if was.get(name) != now.get(name)
    ]
    previous = {name: last[name] for name in ("measurements", "tee", "insecure", "first", "last")}
    return {"known": True, "changed": bool(changes), "previous": previous, "changes": changes}


def note_report(url: str, report: Mapping[str, Any]) -> dict[str, Any]:
    """``report`` with its ``history``, after noting it; warns loudly where something changed.

    A history that cannot be read or written is a warning too, and ``history`` then is null: it
    must not keep anybody from verifying.
    """
    out = console()
    try:
        found: dict[str, Any] | None = History().note(url, report)
    except (BadInput, OSError) as error:
        why = error.message if isinstance(error, BadInput) else os.strerror(error.errno or 0)
        out.warn(f"A change of this service would not be noticed: {why}")
        found = None
    if found is not None and found["changed"]:
        out.warn(change_text(url, found))
    return {**report, "history": found}


def change_text(url: str, found: Mapping[str, Any]) -> str:
    """The sentences that tell a person what changed."""
    names = ", ".join(str(change["name"]) for change in found["changes"])
    seen = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(found["previous"]["last"]))
    lines = [f"{url} IS NOT WHAT YOU VERIFIED BEFORE (last {seen}). Changed: {names}."]
    for change in found["changes"]:
        lines.append(f"  {change['name']}: was {_told(change['was'])}, is {_told(change['is'])}")
    lines.append(
        "  Your Trustee affirms it, so an update that you approved explains this. If you know of "
        "none, ask your Trustee's operator before you ask anything else."
    )
    return "\n".join(lines)


def _told(value: object) -> str:
    text = "nothing" if value is None else str(value).lower() if value is True else str(value)
    return "".join(c if c.isprintable() else " " for c in text)


def _entry(report: Mapping[str, Any], at: int) -> dict[str, Any]:
    checks = report.get("checks") or []
    failed = next((check for check in checks if not check["ok"]), None)
    affirmed = report["verdict"] == _AFFIRMING
    return {
        "first": at,
        "last": at,
        "count": 1,
        "verdict": str(report["verdict"]),
        "refused_by": None if failed is None else str(failed["name"]),
        "tee": str(report["tee"]),
        "insecure": bool(report["insecure"]),
        "policy_id": str(report["policy_id"]),
        "measurements": lasting(report["measurements"]) if affirmed else {},
    }


def lasting(measurements: Mapping[str, Any]) -> dict[str, str]:
    """Measurements by name, without those that change while the software stays what it is."""
    return {str(k): str(v) for k, v in measurements.items() if k not in _FRESH}


def _compared(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {**entry["measurements"], "tee": entry["tee"], "insecure": entry["insecure"]}


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    passing = ("first", "last", "count")
    return all(one.get(name) == other[name] for name in other if name not in passing)


def _kept(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The newest entries, and the last affirmed one whatever its age: it is what is compared."""
    if len(entries) <= MAX_ENTRIES:
        return entries
    kept = entries[-MAX_ENTRIES:]
    if any(entry["verdict"] == _AFFIRMING for entry in kept):
        return kept
    affirmed = [entry for entry in entries if entry["verdict"] == _AFFIRMING]
    return affirmed[-1:] + kept[1:]


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            data = json.loads(stream.read(MAX_FILE))
        good = (
            data["format"] == FORMAT
            and isinstance(data["url"], str)
            and isinstance(data["entries"], list)
            and all(_well_formed(entry) for entry in data["entries"])
        )
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        good = False
    if not good:
        raise _damaged(path)
    return dict(data)


_TYPES = {
    "first": int,
    "last": int,
    "count": int,
    "verdict": str,
    "tee": str,
    "insecure": bool,
    "policy_id": str,
    "measurements": dict,
}


def _well_formed(entry: object) -> bool:
    return isinstance(entry, dict) and all(
        isinstance(entry.get(name), kind) for name, kind in _TYPES.items()
    )


def _damaged(path: Path) -> BadInput:
    return BadInput(
        f"The history {path} is damaged or is not crag's.",
        hint="Look at it; remove it only if you accept to begin anew with that service.",
    )
