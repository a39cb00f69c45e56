"""TNG's configuration: strict where TNG is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.errors import UsageError
from crag_core.gateway.config import (
    EgressConfig,
    IngressConfig,
    pinned_certificates,
    service_url,
)
from crag_core.gateway.endpoint import Endpoint
from support.small_as import Signer

PEM = Signer().ca_pem
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what a provider listens on
HERE, THERE = Endpoint("127.0.0.1", 1001), Endpoint("127.0.0.1", 1002)


def egress(**changes: Any) -> EgressConfig:
    return EgressConfig(
        **{
            "listen": Endpoint(EVERYWHERE, 8000),
            "backend": HERE,
            "attester_url": "http://127.0.0.1:8006",
            "control": THERE,
            **changes,
        }
    )


def ingress(**changes: Any) -> IngressConfig:
    return IngressConfig(
        **{
            "listen": HERE,
            "control": THERE,
            "as_url": "http://as.example:8081/api/attestation-service",
            "policy_id": "default",
            "anchors": (PEM,),
            **changes,
        }
    )


def test_the_egress_document_is_what_tng_reads() -> None:
    assert egress().document() == {
        "control_interface": {"restful": {"host": "127.0.0.1", "port": 1002}},
        "add_egress": [
            {
                "mapping": {
                    "in": {"host": EVERYWHERE, "port": 8000},
                    "out": {"host": "127.0.0.1", "port": 1001},
                },
                "ohttp": {
                    "forward_client_ip": False,
                    "key": {"source": "self_generated", "rotation_interval": 30},
                },
                "attest": {
                    "model": "background_check",
                    "aa_provider": "coco_asr",
                    "asr_addr": "http://127.0.0.1:8006",
                },
            }
        ],
    }


def test_the_ingress_document_pins_and_never_lets_traffic_by() -> None:
    document = ingress().document(("/proc/self/fd/9",))
    (entry,) = document["add_ingress"]
    assert entry["verify"] == {
        "model": "background_check",
        "as_provider": "coco",
        "as_type": "restful",
        "as_addr": "http://as.example:8081/api/attestation-service",
        "policy_ids": ["default"],
        "trusted_certs_paths": ["/proc/self/fd/9"],
    }
    assert entry["ohttp"] == {}
    assert set(entry["http_proxy"]) == {"proxy_listen"}
    text = json.dumps(document)
    for word in ("dst_filter", "no_ra", "rats_tls", "skip_as_token_cert_verify", "trust_all"):
        assert word not in text


def test_a_pin_for_each_certificate_is_needed() -> None:
    for paths in ((), ("/a", "/b")):
        with pytest.raises(ValueError, match="one path"):
            ingress().document(paths)
    with pytest.raises(ValueError, match="pins no certificate"):
        egress().document(("/a",))


@pytest.mark.parametrize(
    "changes",
    [
        {"backend": Endpoint("10.0.0.1", 80)},
        {"control": Endpoint(EVERYWHERE, 80)},
        {"attester_url": "http://10.0.0.1:8006"},
        {"attester_url": "http://127.0.0.1:8006/?x"},
        {"attester_url": "ftp://127.0.0.1:8006"},
        {"rotation_interval": 0},
        {"rotation_interval": 86400},
    ],
)
def test_an_egress_that_would_leak_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        egress(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"listen": Endpoint(EVERYWHERE, 41000)},
        {"control": Endpoint("192.168.1.1", 1)},
        {"as_url": "as.example"},
        {"as_url": "http://user:pw@as.example"},
        {"policy_id": ""},
        {"policy_id": "a b"},
        {"policy_id": "../x"},
        {"anchors": ()},
        {"anchors": (PEM + PEM,)},
        {"anchors": (b"nothing",)},
    ],
)
def test_an_ingress_that_would_verify_less_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ingress(**changes)


def test_each_certificate_of_a_file_is_pinned() -> None:
    other = Signer().ca_pem
    found = pinned_certificates(b"a comment\n" + PEM + b"\n" + other, "ca.pem")
    assert [c.strip() for c in found] == [PEM.strip(), other.strip()]


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
    ],
)
def test_a_file_without_a_certificate_pins_nothing_and_is_refused(pem: bytes) -> None:
    with pytest.raises(UsageError, match=r"ca\.pem holds no PEM certificate"):
        pinned_certificates(pem, "ca.pem")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40) | st.from_regex(r"https?://[a-z@:.0-9/?#\[\]%]{0,30}", fullmatch=True))
def test_an_accepted_service_url_carries_nothing_hidden(text: str) -> None:
    try:
        url = service_url(text, "address")
    except UsageError:
        return
    assert url.startswith(("http://", "https://"))
    assert not set(url) & set(' @?#\\"\n\r\t\x00') or "@" not in url.split("/")[2]
    assert url.split("/")[2]


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=20))
def test_no_policy_id_can_be_anything_but_a_word(text: str) -> None:
    try:
        config = ingress(policy_id=text)
    except UsageError:
        return
    assert json.dumps(config.verify(("/x",))).count(text) >= 1
    assert text.isascii() and not set(text) & set(" /\\\"'\n")
