"""``--expires``: a date, or a time from when a document was taken in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from crag_core.errors import UsageError

if TYPE_CHECKING:
    from crag_core.collection import DocumentInfo

_SECONDS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}
_DURATION = re.compile(r"([1-9][0-9]{0,4})([hdw])")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
NEVER = "never"


@dataclass(frozen=True)
class Expiry:
    """When documents expire: at a moment (seconds since 1970 UTC), after a time, never.

    Without any of them a document keeps the date that it has.
    """

    moment: int | None = None
    seconds: int | None = None
    never: bool = False

    def of(self, known: DocumentInfo | None, now: int, *, changed: bool) -> int | None:
        """The date of a document.

        Args:
            known: the document as the collection has it, or None.
            now: seconds since 1970 UTC.
            changed: it is taken in anew; a time counts from now, not from when it was first.
        """
        if self.never:
            return None
        if self.moment is not None:
            return self.moment
        kept = None if known is None or known.expired(now) else known.expires
        if self.seconds is not None and (changed or kept is None):
            return now + self.seconds
        return kept


def parse_expiry(text: str | None, now: int) -> Expiry:
    """The expiry that ``--expires`` asks for; None asks for nothing.

    Args:
        text: ``2027-01-31`` (through that day, UTC), ``2027-01-31T18:00+08:00`` (UTC without an
            offset), ``12h``, ``90d``, ``8w``, or ``never``.

    Raises:
        UsageError: none of these, or a moment that is past.
    """
    if text is None:
        return Expiry()
    if text == NEVER:
        return Expiry(never=True)
    if found := _DURATION.fullmatch(text):
        return Expiry(seconds=int(found[1]) * _SECONDS[found[2]])
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        if _DAY.fullmatch(text):
            moment += timedelta(days=1)
        seconds = int(moment.timestamp())
    except (ValueError, OverflowError):
        raise UsageError(
            f"--expires {text!a} is no date and no time.",
            hint="As in 2027-01-31, 2027-01-31T18:00+08:00, 12h, 90d, 8w or never.",
        ) from None
    if seconds <= now:
        raise UsageError(
            f"--expires {text} is past.", hint="Name a later date, or leave the documents out."
        )
    return Expiry(moment=seconds)
