"""Intel's collateral and NVIDIA's RIMs for this Trustee's verifiers: bundle, cache, PCCS.

All of it lies in ``collateral/`` below the Trustee's folder: ``bundle.json`` (a signed, dated
bundle) with ``trusted-keys`` (Ed25519 public keys in hex, a line each), one file for each platform
that was fetched, and RIM documents in ``rims/``. Nothing here is trusted: its signatures are
checked at each verification.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crag_core.errors import BadInput, CragError, Unreachable
from crag_core.trustee.local.folder import Folder

if TYPE_CHECKING:
    from crag_core.attestation.bundle import Bundle

FOLDER = "collateral"
BUNDLE = "bundle.json"
TRUSTED = "trusted-keys"
RIMS = "rims"
# How many fetch at once, and how long others wait for one of them.
FETCHES = 4
WAIT_SECONDS = 5.0
_MAX_RIM = 4 * 1024 * 1024


class NoCollateral(Exception):
    """There is no usable collateral for a platform; ``sentence`` says why."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class _Offline:
    """A source for machines that fetch nothing."""

    def fetch(self, fmspc: str, ca: str, tee: str) -> dict[str, Any]:
        raise Unreachable(f"Nothing is fetched here for FMSPC {fmspc} ({ca}, {tee}).")


class LocalCollateral:
    """Where this Trustee's verifiers get collateral from.

    Args:
        folder: the Trustee's folder.
        pccs: URL of a PCCS to ask where neither bundle nor cache has anything; None asks nobody.
        ca: PEM file of what to trust where that URL is https.
        clock: unix seconds.
    """

    def __init__(
        self,
        folder: Folder,
        pccs: str | None = None,
        ca: Path | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._root = folder.path(FOLDER)
        self._folder = folder
        self._pccs = pccs
        self._ca = ca
        self._fetching = threading.BoundedSemaphore(FETCHES)
        self._clock = clock

    def find(self, quote: bytes) -> Mapping[str, Any]:
        """The collateral for the platform that made ``quote``, with member ``nvidia_rims``.

        Raises:
            NoCollateral: there is none, or the quote names no platform.
        """
        from crag_core.attestation.tdx import quote_platform

        platform = quote_platform(quote)
        if platform is None:
            raise NoCollateral("The quote does not say which platform it is from.")
        fmspc, ca, tee = platform
        bundled = self._bundled(fmspc, ca, tee)
        if bundled is not None:
            return {**bundled, "nvidia_rims": [*bundled["nvidia_rims"], *self._files()]}
        return {**self._fetched(fmspc, ca, tee), "nvidia_rims": self.rims()}

    def rims(self) -> list[str]:
        """NVIDIA's RIM documents that are at hand."""
        bundle = self._bundle()
        return [*(bundle.rims if bundle else ()), *self._files()]

    def _files(self) -> list[str]:
        found = sorted(self._root.joinpath(RIMS).glob("*"))
        return [_text(path) for path in found if path.is_file()]

    def _bundled(self, fmspc: str, ca: str, tee: str) -> dict[str, Any] | None:
        bundle = self._bundle()
        if bundle is None:
            return None
        try:
            return bundle.find(fmspc, tee, ca)
        except BadInput:
            return None

    def _bundle(self) -> Bundle | None:
        from crag_core.attestation.bundle import import_bundle

        data = self._folder.read(FOLDER, BUNDLE)
        if data is None:
            return None
        keys = (self._folder.read(FOLDER, TRUSTED) or b"").decode("ascii", "replace").split()
        try:
            trusted = [bytes.fromhex(key) for key in keys]
            return import_bundle(data, trusted, int(self._clock()))
        except (CragError, ValueError) as error:
            why = error.message if isinstance(error, CragError) else "its trusted keys are not hex"
            raise NoCollateral(f"The collateral bundle is not usable: {why}") from None

    def _fetched(self, fmspc: str, ca: str, tee: str) -> dict[str, Any]:
        from crag_core.attestation.collateral_cache import CachedCollateral
        from crag_core.attestation.pccs import CollateralSource, PccsSource

        source: CollateralSource = _Offline()
        if self._pccs:
            source = PccsSource(self._pccs, ca=self._ca)
        # Whoever brings a quote names the platform, and a PCCS may be slow.
        if not self._fetching.acquire(timeout=WAIT_SECONDS):
            raise NoCollateral(f"Collateral of {FETCHES} platforms is being fetched already.")
        try:
            return CachedCollateral(source, self._root, clock=self._clock).fetch(fmspc, ca, tee)
        except CragError:
            asked = "no PCCS answers" if self._pccs else "no PCCS is configured"
            raise NoCollateral(
                f"There is no collateral that is valid now for FMSPC {fmspc}, and {asked}."
            ) from None
        finally:
            self._fetching.release()


def _text(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(_MAX_RIM).decode("utf-8", "replace")
