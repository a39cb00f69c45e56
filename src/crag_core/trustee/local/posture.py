"""How much this Trustee lets anybody do: strict, or as the vendor's Trustee 1.5.2 comes.

The vendor's posture exists to be looked at (``trustee check``) and to be tested against. It is
served only from a folder that was made for it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crag_core.errors import BadInput
from crag_core.trustee.local import jws
from crag_core.trustee.local.codec import Malformed, b64url_decode, read_object
from crag_core.trustee.local.dialect import CURRENT, LEGACY, Version
from crag_core.trustee.local.folder import Folder

MARK = "INSECURE-VENDOR-DEFAULTS"


@dataclass(frozen=True)
class Posture:
    """What is open.

    Args:
        versions: of the handshake that are spoken; the first one is named in refusals.
        open_administration: whether policies of attestation, reference values, listings and the
            audit log are anybody's.
        any_signer: whether a token is believed by the key that it brings along.
        unbound: whether sample evidence gets a verdict without any runtime data, and in the form
            of a request that Trustee 1.5 takes.
        policies: the folder of the policies that are shipped.
    """

    versions: tuple[Version, ...] = (CURRENT,)
    open_administration: bool = False
    any_signer: bool = False
    unbound: bool = False
    policies: str = "policy_files"


STRICT = Posture()
WITH_LEGACY = Posture(versions=(CURRENT, LEGACY))
VENDOR = Posture(
    versions=(LEGACY,),
    open_administration=True,
    any_signer=True,
    unbound=True,
    policies="vendor_policy_files",
)


def claim_for_vendor_defaults(folder: Folder) -> None:
    """Mark an empty folder as one for the vendor's posture.

    Raises:
        BadInput: the folder holds something else.
    """
    mine = folder.read(MARK) is not None
    with folder.writing() as writer:
        others = [path.name for path in folder.root.iterdir() if path.name not in (MARK, "lock")]
        if not mine and others:
            raise BadInput(
                f"{folder.root} is not empty: the vendor's insecure defaults would open it.",
                hint="Name a new folder with --dir.",
            )
        writer.write(b"Anybody who reaches this Trustee can read what lies here.\n", MARK)


def refuse_vendor_folder(folder: Folder) -> None:
    """Refuse to serve strictly what was open to everybody before.

    Raises:
        BadInput: the folder was made for the vendor's posture.
    """
    if folder.read(MARK) is not None:
        raise BadInput(
            f"{folder.root} was served with the vendor's insecure defaults: anybody may have "
            "changed what lies there.",
            hint="Name another folder with --dir.",
        )


def claims_by_own_key(token: str) -> dict[str, Any]:
    """The claims of a token that is signed by the key in its own header: anybody's.

    Raises:
        BadToken: not even that.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        jwk = read_object(b64url_decode(token.split(".")[0])).get("jwk")
        if not isinstance(jwk, Mapping) or jwk.get("crv") != "P-256":
            raise jws.BadToken("the token brings no key along")
        x, y = (int.from_bytes(b64url_decode(jwk.get(name)), "big") for name in "xy")
        key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except (Malformed, ValueError):
        raise jws.BadToken("the token brings no usable key along") from None
    claims = jws.verify(token, key)
    submods = claims.get("submods")
    if not isinstance(submods, Mapping) or not {"cpu", "cpu0"} & set(submods):
        raise jws.BadToken("the token has no submodule of a CPU")
    return claims


def sample_anything(evidence: Mapping[str, Any], expected: bytes) -> dict[str, Any] | None:
    """The claims of sample evidence as the vendor's verifier takes it, without any event log.

    Nothing ``expected`` is anything.
    """
    try:
        bound = base64.b64decode(str(evidence.get("report_data")), validate=True)
    except ValueError:
        return None
    return {"svn": str(evidence.get("svn"))} if bound == expected or not expected else None
