"""How often the server does for anybody what costs something and needs no proof.

All peers are loopback's, so there is one rate for all of them: it bounds what a flood can cost.
What has proved itself (a session that attested, the admin) is not held up by those that have not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

# A second on average, and at once after a pause.
SESSIONS = (50.0, 200)
CHALLENGES = (50.0, 200)
APPRAISALS = (20.0, 100)
RELEASES = (100.0, 500)


class Rate:
    """``per_second`` on average, ``burst`` at once; a token bucket."""

    def __init__(
        self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._clock = clock
        self._left = float(burst)
        self._at = clock()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Whether one more may be served now; it is counted if so."""
        with self._lock:
            now = self._clock()
            self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
            self._at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True


@dataclass(frozen=True)
class Rates:
    """The rates of one server: nonces, verification of evidence, and resources asked for.

    Sessions that are opened have theirs in :class:`crag_core.trustee.local.sessions.Sessions`.
    """

    challenges: Rate = field(default_factory=lambda: Rate(*CHALLENGES))
    appraisals: Rate = field(default_factory=lambda: Rate(*APPRAISALS))
    releases: Rate = field(default_factory=lambda: Rate(*RELEASES))
