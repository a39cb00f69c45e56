"""RCAR sessions: a nonce used once, and what was proved with it; in memory, five minutes."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from crag_core.trustee.local.dialect import NONCE_BYTES, Opening, Version, challenge
from crag_core.trustee.local.rates import Rate

LIFETIME = 300.0
MAX_SESSIONS = 1024


class TooMany(Exception):
    """As many sessions are open as this server keeps, or they are opened too fast."""


@dataclass
class Session:
    """One handshake: opened for a TEE in a version, then (at most once) attested."""

    id: str
    tee: str
    version: Version
    nonce: str
    ends: float
    spent: bool = False
    claims: Mapping[str, Any] | None = None


class Sessions:
    """The sessions of one server process.

    An attempt to attest spends the nonce whether it succeeds or not, and a failed one ends the
    session. (The real Trustee answers a second attempt with the first one's token.)
    """

    def __init__(
        self,
        *,
        lifetime: float = LIFETIME,
        limit: int = MAX_SESSIONS,
        rate: Rate | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lifetime = lifetime
        self._limit = limit
        self._rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, Session] = {}

    def open(self, opening: Opening) -> Session:
        """A new session with a fresh nonce.

        Raises:
            TooMany: a limit is reached; open sessions are never dropped for new ones.
        """
        if self._rate is not None and not self._rate.take():
            raise TooMany
        nonce = challenge(secrets.token_bytes(NONCE_BYTES))["nonce"]
        now = self._clock()
        session = Session(
            secrets.token_hex(16), opening.tee, opening.version, nonce, now + self.lifetime
        )
        with self._lock:
            if len(self._open) >= self._limit:
                self._open = {k: s for k, s in self._open.items() if s.ends > now}
            if len(self._open) >= self._limit:
                raise TooMany
            self._open[session.id] = session
        return session

    def spend(self, session_id: str) -> Session | None:
        """The session whose nonce is used now; None where it is unknown, over, or used already."""
        with self._lock:
            session = self._alive(session_id)
            if session is None or session.spent:
                return None
            session.spent = True
            return session

    def attested(self, session: Session, claims: Mapping[str, Any]) -> None:
        """Keep what the session has proved, for the rest of its time."""
        with self._lock:
            session.claims = claims

    def end(self, session: Session) -> None:
        """Forget the session."""
        with self._lock:
            self._open.pop(session.id, None)

    def version(self, session_id: str) -> Version | None:
        """The protocol's version of a session; None where there is no such session."""
        with self._lock:
            session = self._alive(session_id)
            return None if session is None else session.version

    def claims(self, session_id: str) -> Mapping[str, Any] | None:
        """What an attested session has proved; None for any other."""
        with self._lock:
            session = self._alive(session_id)
            return None if session is None else session.claims

    def _alive(self, session_id: str) -> Session | None:
        session = self._open.get(session_id)
        if session is not None and session.ends <= self._clock():
            del self._open[session_id]
            return None
        return session
