"""Collateral kept on disk, so that one fetch serves many verifications.

What lies here is public and signed by Intel: a changed file makes verification fail, nothing else.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crag_core.attestation.collateral import parse_collateral
from crag_core.attestation.pccs import CollateralSource
from crag_core.attestation.policy import DAY
from crag_core.config import home, write_private
from crag_core.errors import BadInput, CragError


class CachedCollateral:
    """A source in front of another one.

    Args:
        source: asked where nothing fresh is kept.
        folder: where files lie; ``collateral`` under the state folder by default.
        fresh: seconds since its issue during which what is kept is used without asking.
        clock: unix seconds.
    """

    def __init__(
        self,
        source: CollateralSource,
        folder: Path | None = None,
        *,
        fresh: int = DAY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.source = source
        self.folder = folder or home() / "collateral"
        self.fresh = fresh
        self._clock = clock

    def fetch(self, fmspc: str, ca: str, tee: str) -> dict[str, Any]:
        """See :class:`crag_core.attestation.pccs.CollateralSource`.

        What is kept and has not expired is used where the source gives nothing.

        Raises:
            Unreachable, CragError: the source gives nothing, and nothing usable is kept.
        """
        if not (fmspc + ca + tee).isalnum():
            raise BadInput("FMSPC, PCK CA and TEE are letters and digits.")
        path = self.folder / f"{fmspc.upper()}-{ca}-{tee}.json"
        now = int(self._clock())
        kept = self._kept(path, now)
        if kept is not None and now - kept[1] <= self.fresh:
            return kept[0]
        try:
            found = self.source.fetch(fmspc, ca, tee)
        except CragError:
            if kept is None:
                raise
            return kept[0]
        with contextlib.suppress(OSError):  # a full disk makes it be fetched again, no more
            write_private(path, json.dumps(found).encode())
        return found

    @staticmethod
    def _kept(path: Path, now: int) -> tuple[dict[str, Any], int] | None:
        """What the file holds and when it was issued, or None where it is unusable or expired."""
        try:
            data = json.loads(path.read_bytes())
            parsed = parse_collateral(data) if isinstance(data, dict) else None
        except (OSError, ValueError, RecursionError, BadInput):
            return None
        if parsed is None or not parsed.issued <= now <= parsed.expires:
            return None
        return data, parsed.issued
