"""Fuzz SPDM reports: parsing, signature, firmware identity. Only the seed may be genuine."""

from __future__ import annotations

from crag_core.attestation.gpu_evidence import GpuEvidence
from crag_core.attestation.nvidia import examine_gpu
from crag_core.attestation.policy import GpuPolicy
from crag_core.attestation.verdict import Checks
from fuzz.harness import main
from support.fake_intel import NOW
from support.hardware import anchors, nvidia

NONCE = bytes(range(32))
SEEDS = (nvidia().report(NONCE),)
CHAIN = nvidia().chain


def target(data: bytes) -> None:
    """A verdict on one GPU, and a rejection unless it is the seed."""
    checks = Checks()
    evidence = GpuEvidence(0, data, CHAIN)
    examine_gpu(evidence, NONCE, NOW, GpuPolicy(), (), checks, anchors())
    if checks.ok and data.rstrip(b"\0") != SEEDS[0].rstrip(b"\0"):
        raise AssertionError("a report that no GPU signed was accepted")


if __name__ == "__main__":
    main(target, SEEDS)
