"""Tokens and evidence as an attacker makes them: with keys of their own, about nothing real."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from crag_core.trustee.jwe import ECDH, RSA_LEGACY, TeeKey, b64url
from crag_core.trustee.local import jws

PROFILE = "tag:github.com,2024:confidential-containers/Trustee"
_VECTOR = {"configuration": 2, "executables": 3, "file-system": 2, "hardware": 2}
# As a quote's header says it is Intel's; the rest is zeros, which no real machine measures.
_TDX = {
    "quote": {
        "header": {"tee_type": "81000000", "vendor_id": "939a7233f79c4ca9940a0db3957f0607"},
        "body": dict.fromkeys(("mr_td", "rtmr_0", "rtmr_1", "rtmr_2", "rtmr_3"), "00" * 48),
    }
}


@dataclass
class Forger:
    """Somebody who has no enclave: a signer key and a session key of their own."""

    signer: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def ear(self, cpu: str, alg: str) -> str:
        """An EAR token, ES256, that affirms a TD which doesn't exist."""
        numbers = self.signer.public_key().public_numbers()
        x, y = (b64url(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
        jwk = {"kty": "EC", "crv": "P-256", "alg": "ES256", "x": x, "y": y}
        now = int(time.time())
        submod = {
            "ear.status": "affirming",
            "ear.trustworthiness-vector": _VECTOR,
            "ear.appraisal-policy-id": "default",
            "ear.veraison.annotated-evidence": {
                "tdx": _TDX,
                "report_data": "00" * 64,
                "runtime_data_claims": self._runtime(alg),
            },
        }
        claims = {
            "eat_profile": PROFILE,
            "iat": now,
            "exp": now + 300,
            "ear.verifier-id": {"developer": "trustee check", "build": "forged"},
            "submods": {cpu: submod},
        }
        return jws.sign({"jwk": jwk}, claims, self.signer)

    def simple(self) -> str:
        """A Simple token, RS384, as openanolis Trustee 1.5 issues them."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        numbers = key.public_key().public_numbers()
        jwk = {"kty": "RSA", "alg": "RS384", "n": _number(numbers.n), "e": _number(numbers.e)}
        now = int(time.time())
        claims = {
            "iss": "CoCo-Attestation-Service",
            "iat": now,
            "nbf": now,
            "exp": now + 300,
            "jti": "forged",
            "tee": "tdx",
            "evaluation-reports": [{"policy-id": "default", "policy-hash": "00" * 48}],
            "tcb-status": json.dumps({"tdx.quote.body.mr_td": "00" * 48}),
            "customized_claims": {"init_data": None, "runtime_data": self._runtime(RSA_LEGACY)},
        }
        header = {"typ": "JWT", "alg": "RS384", "jwk": jwk}
        signed = ".".join(b64url(json.dumps(part).encode()) for part in (header, claims))
        signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA384())
        return f"{signed}.{b64url(signature)}"

    @staticmethod
    def _runtime(alg: str) -> dict[str, Any]:
        return {"nonce": "forged", "tee-pubkey": TeeKey.generate(alg).jwk}

    def tokens(self) -> list[str]:
        """One token in each form that a key broker may read."""
        return [
            self.ear("cpu0", ECDH),
            self.ear("cpu0", RSA_LEGACY),
            self.ear("cpu", RSA_LEGACY),
            self.simple(),
        ]


class Sample:
    """An evidence source of software-made evidence without any measurement."""

    tee = "sample"

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        """What Trustee's sample verifiers of every version read, and crag's."""
        from crag_core.attestation import sample
        from crag_core.attestation.measurement import Event, Measurement

        nothing = Measurement([Event("software", {"format": "trustee-check"})])
        return sample.build(nothing, report_data)

    def additional(self, report_data: bytes) -> dict[str, Any] | None:
        """None."""
        del report_data
        return None


def _number(value: int) -> str:
    size = (value.bit_length() + 7) // 8
    return base64.urlsafe_b64encode(value.to_bytes(size, "big")).rstrip(b"=").decode()
