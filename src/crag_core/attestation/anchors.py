"""The roots that hardware evidence must lead to, pinned by value.

NVIDIA's are pinned by public key (an uncompressed P-384 point), Intel's by the SHA-256 of its
certificate; `dcap-qvl` has that certificate built in. Only tests use other anchors: no setting and
no policy file can name one.
"""

from __future__ import annotations

from dataclasses import dataclass

# "Intel SGX Root CA", serial 22650cd65a9d3489f383b49552bf501b392706ac.
INTEL_ROOT_SHA256 = bytes.fromhex(
    "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"
)
# "NVIDIA Device Identity CA", serial 2d3670b1ca100411c1fec0e82a065b54.
NVIDIA_DEVICE_KEY = bytes.fromhex(
    "040e4c14a33bf8a5626658db4129607e4cbf4519c4412716f4d0d917c49780"
    "05bdeabeaefd57bc66082d718a4f8b6052e1516ee8a7c422b84de857071bb5"
    "8fd395bea0cfa1c63ee7c80d6bd63901d91cbbd187d3857dc16b5cceaf238f"
    "f8c27dbd"
)
# "NVIDIA CoRIM signing Root CA", serial 45dae3a00e5037bddf875375ecb5e270.
NVIDIA_RIM_KEY = bytes.fromhex(
    "04b840b28bdbcd33e230da57d4cf2065747030682d4717b4c2829d7641c132"
    "5139b74da831c2be3c779e7e2b65489566080e4ecd94021075c57f15fedeb8"
    "62c8f906ae8fddc7b12238597dbdf0fa56e78453833f6d0be43af3871a47f0"
    "57584799"
)


@dataclass(frozen=True)
class Anchors:
    """Trust anchors.

    ``intel_root``: DER of a root to use instead of Intel's (tests), or None. ``nvidia_device`` and
    ``nvidia_rim``: 97 bytes, uncompressed P-384 points.
    """

    intel_root: bytes | None = None
    nvidia_device: bytes = NVIDIA_DEVICE_KEY
    nvidia_rim: bytes = NVIDIA_RIM_KEY


PINNED = Anchors()
