"""GPU evidence of another challenge, another chain, another firmware, or none."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography import x509

from crag_core.attestation.policy import GpuPolicy, Policy
from support.fake_nvidia import FakeNvidia, certificate, key, pem
from support.hardware import failed, intel, judge, nvidia

NONCE = bytes(range(32))
QUOTE = intel().quote(report_data=NONCE + bytes(range(32, 64)))


def gpu(report: bytes | None = None, chain: bytes | None = None, **rest: Any) -> list[str]:
    """The failed checks of a verdict on one GPU in the TD of ``QUOTE``."""
    verdict = judge(
        QUOTE,
        gpu_report=nvidia().report(NONCE) if report is None else report,
        gpu_certs=nvidia().chain if chain is None else chain,
        **rest,
    )
    assert (verdict.verdict == "affirming") == (not failed(verdict))
    return failed(verdict)


def test_a_gpu_that_answers_to_the_quotes_report_data_is_accepted() -> None:
    assert gpu() == []


# another nonce


def test_a_gpu_report_with_another_nonce_is_refused() -> None:
    assert gpu(nvidia().report(bytes(32))) == ["gpu0-nonce"]


def test_a_report_for_the_second_half_of_the_report_data_is_refused() -> None:
    assert gpu(nvidia().report(bytes(range(32, 64)))) == ["gpu0-nonce"]


def test_a_nonce_of_the_callers_must_be_the_reports() -> None:
    other = b"\x07" * 32
    assert gpu(gpu_nonce=other) == ["gpu0-nonce"]
    assert gpu(nvidia().report(other), gpu_nonce=other) == []


def test_a_nonce_of_the_callers_is_no_binding_where_the_policy_wants_one() -> None:
    other = b"\x07" * 32
    bound = Policy(gpu=GpuPolicy(require_binding=True))
    assert gpu(nvidia().report(other), gpu_nonce=other, policy=bound) == ["gpu-binding"]
    assert gpu(gpu_nonce=NONCE, policy=bound) == []


def test_changing_the_nonce_in_the_report_breaks_its_signature() -> None:
    report = nvidia().report(bytes(32))
    assert gpu(report[:4] + NONCE + report[36:]) == ["gpu0-signature"]


# another chain


def test_a_gpu_report_with_another_chain_is_refused() -> None:
    other = FakeNvidia("impostor")
    assert gpu(other.report(NONCE), other.chain) == ["gpu0-chain"]


def test_another_gpus_chain_is_refused() -> None:
    leaf = certificate(
        "GH100 A01 GSP FMC LF", "ICA", key("other gpu"), nvidia().ica_key, ca=False,
        fwid=nvidia().fwid,
    )  # fmt: skip
    assert gpu(chain=pem(leaf, nvidia().ica, nvidia().root)) == ["gpu0-signature"]


def test_a_chain_with_a_hole_or_another_order_is_refused() -> None:
    leaf, ica, root = nvidia().leaf, nvidia().ica, nvidia().root
    for chain in ([leaf], [leaf, root], [ica, root], [root], [root, ica, leaf], [leaf, root, ica]):
        assert gpu(chain=pem(*chain)) == ["gpu0-chain"]


def test_the_root_may_be_left_out_of_the_chain() -> None:
    assert gpu(chain=pem(nvidia().leaf, nvidia().ica)) == []


def test_a_leaf_that_acts_as_a_ca_is_refused() -> None:
    """The real GPU's key signs a certificate for a key of the attacker's."""
    mine = key("attacker")
    forged = certificate(
        "GH100 fake", "GH100 A01 GSP FMC LF", mine, nvidia().leaf_key, ca=False,
        fwid=nvidia().fwid,
    )  # fmt: skip
    chain = pem(forged, nvidia().leaf, nvidia().ica, nvidia().root)
    assert gpu(nvidia().report(NONCE, signer=mine), chain) == ["gpu0-chain"]


def test_a_ca_that_acts_as_a_leaf_is_refused() -> None:
    report = nvidia().report(NONCE, signer=nvidia().ica_key)
    assert gpu(report, pem(nvidia().ica, nvidia().root)) == ["gpu0-chain"]


def test_a_ca_below_its_allowed_depth_is_refused() -> None:
    short = certificate("ICA", "Root", nvidia().ica_key, nvidia().root_key, path_length=0)
    sub_key = key("sub")
    sub = certificate("Sub", "ICA", sub_key, nvidia().ica_key)
    leaf = certificate("GH100 x", "Sub", nvidia().leaf_key, sub_key, ca=False, fwid=nvidia().fwid)
    assert gpu(chain=pem(leaf, sub, nvidia().ica, nvidia().root)) == []
    assert gpu(chain=pem(leaf, sub, short, nvidia().root)) == ["gpu0-chain"]


def test_an_expired_certificate_is_refused() -> None:
    old = certificate("ICA", "Root", nvidia().ica_key, nvidia().root_key, days=10)
    assert gpu(chain=pem(nvidia().leaf, old, nvidia().root)) == ["gpu0-chain"]


def test_an_unknown_critical_extension_is_refused() -> None:
    odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
    leaf = certificate(
        "GH100 x", "ICA", nvidia().leaf_key, nvidia().ica_key, ca=False, fwid=nvidia().fwid,
        extra=odd,
    )  # fmt: skip
    assert gpu(chain=pem(leaf, nvidia().ica, nvidia().root)) == ["gpu0-chain"]


def test_a_chain_that_is_no_chain_is_refused() -> None:
    for text in (b"", b"x", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        assert gpu(chain=text) == ["gpu0-chain"]


# wrong FWID


def test_a_gpu_report_with_a_wrong_fwid_is_refused() -> None:
    opaque = {**nvidia().opaque(), 20: bytes(48)}
    assert gpu(nvidia().report(NONCE, opaque=opaque)) == ["gpu0-fwid"]
    leaf = nvidia().make_leaf(fwid=bytes(48))
    assert gpu(chain=pem(leaf, nvidia().ica, nvidia().root)) == ["gpu0-fwid"]


def test_a_report_or_certificate_without_firmware_identity_is_refused() -> None:
    opaque = {number: value for number, value in nvidia().opaque().items() if number != 20}
    assert gpu(nvidia().report(NONCE, opaque=opaque)) == ["gpu0-fwid"]
    bare = nvidia().make_leaf(fwid=None)
    assert gpu(chain=pem(bare, nvidia().ica, nvidia().root)) == ["gpu0-fwid"]


# no evidence, or one GPU for many


def test_missing_evidence_is_refused_where_the_policy_wants_a_gpu() -> None:
    wanted = Policy(gpu=GpuPolicy(required=1))
    verdict = judge(QUOTE, policy=wanted)
    assert failed(verdict) == ["gpu"]
    assert gpu(policy=wanted) == []


def test_fewer_gpus_than_the_policy_wants_are_refused() -> None:
    assert gpu(policy=Policy(gpu=GpuPolicy(required=2))) == ["gpu"]


def entry(source: FakeNvidia, **more: Any) -> dict[str, Any]:
    return {
        "attestation_report": base64.b64encode(source.report(NONCE)).decode(),
        "certificate": base64.b64encode(source.chain).decode(),
        **more,
    }


def test_one_gpu_that_answers_for_two_is_refused() -> None:
    both = json.dumps({"evidence_list": [entry(nvidia()), entry(nvidia())]}).encode()
    assert gpu(both, policy=Policy(gpu=GpuPolicy(required=2))) == ["gpu-distinct"]


def test_a_report_without_chain_is_refused() -> None:
    verdict = judge(QUOTE, gpu_report=nvidia().report(NONCE))
    assert failed(verdict) == ["gpu"]


@pytest.mark.parametrize("text", [b"{}", b"[]", b"{", b'{"evidence_list":[1]}', b"[null]"])
def test_evidence_that_lists_no_gpu_is_refused(text: bytes) -> None:
    assert gpu(text) == ["gpu"]


def test_gpu_evidence_without_a_quote_is_refused() -> None:
    verdict = judge(b"", gpu_report=nvidia().report(NONCE), gpu_certs=nvidia().chain)
    assert "gpu-binding" in failed(verdict)


@pytest.mark.parametrize("place", [0, 2, 4, 36, 37, 41, 42, 45, 60, 3400, 3600, 3800, -1, -96])
def test_a_flipped_bit_in_the_report_is_refused(place: int) -> None:
    report = bytearray(nvidia().report(NONCE))
    report[place] ^= 4
    assert gpu(bytes(report)) != []


@pytest.mark.parametrize("size", [0, 1, 36, 37, 44, 45, 49, 100, 3500, 3700, -97, -96, -1])
def test_a_truncated_report_is_refused(size: int) -> None:
    assert gpu(nvidia().report(NONCE)[:size]) == ["gpu0-format"]


def test_zeros_behind_a_report_are_padding_and_nothing_else_is() -> None:
    assert gpu(nvidia().report(NONCE) + bytes(64)) == []
    assert gpu(nvidia().report(NONCE) + b"\x01") == ["gpu0-format"]
