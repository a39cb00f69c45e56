"""One flipped bit, in every class of bytes that a quote has.

The verifier library alone accepts a flipped bit in some 700 of the 5006 bytes of the recorded
quote: the root certificate it brings along, line breaks, lengths, padding.
"""

from __future__ import annotations

import pytest

from crag_core.attestation.offline import verify_recorded
from support import vectors
from support.hardware import intel, judge

QUOTE = intel().quote()

CLASSES = {
    "version": (0, 2),
    "key type": (2, 4),
    "tee type": (4, 8),
    "reserved": (8, 12),
    "vendor": (12, 28),
    "user data": (28, 48),
    "tcb svn": (48, 64),
    "mr seam": (64, 112),
    "signer seam": (112, 160),
    "seam attributes": (160, 168),
    "td attributes": (168, 176),
    "xfam": (176, 184),
    "mr td": (184, 232),
    "config id": (232, 280),
    "owner": (280, 328),
    "owner config": (328, 376),
    "rtmr0": (376, 424),
    "rtmr1": (424, 472),
    "rtmr2": (472, 520),
    "rtmr3": (520, 568),
    "report data": (568, 632),
    "signature size": (632, 636),
    "signature": (636, 700),
    "attestation key": (700, 764),
    "certification type": (764, 766),
    "certification size": (766, 770),
    "qe report": (770, 1154),
    "qe signature": (1154, 1218),
    "qe authentication size": (1218, 1220),
    "qe authentication": (1220, 1252),
    "chain type": (1252, 1254),
    "chain size": (1254, 1258),
    "chain": (1258, len(QUOTE)),
}


def flipped(data: bytes, place: int, bit: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1 << bit
    return bytes(changed)


@pytest.mark.parametrize("name", CLASSES)
def test_a_bit_flipped_quote_is_refused_at_every_offset_class(name: str) -> None:
    assert judge(QUOTE).verdict == "affirming"
    start, end = CLASSES[name]
    step = max(1, (end - start) // 8)
    for place in range(start, end, step):
        for bit in (0, 5, 7):
            verdict = judge(flipped(QUOTE, place, bit))
            assert verdict.verdict == "rejected", f"bit {bit} of byte {place} ({name})"
            assert not (verdict.measurements and verdict.failure is None)


@vectors.needed
def test_no_bit_of_a_recorded_quote_can_be_changed_unnoticed() -> None:
    quote = vectors.data("tdx/phala_tdx_quote_v4.dat")
    collateral = vectors.collateral("phala_tdx_quote_v4")
    assert verify_recorded(quote, collateral, vectors.TDX_TIME).verdict == "affirming"
    for place in range(0, len(quote), 5):
        changed = flipped(quote, place, place % 8)
        verdict = verify_recorded(changed, collateral, vectors.TDX_TIME)
        assert verdict.verdict == "rejected", f"bit {place % 8} of byte {place}"
