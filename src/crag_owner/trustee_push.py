"""Hand the key and the anchor to the owner's Trustee."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crag_core.keys import MasterKey
from crag_owner.options import TrusteeSettings

if TYPE_CHECKING:
    from crag_core.snapshot import Anchor
    from crag_core.trustee.admin import AdminClient


def push_key(trustee: TrusteeSettings, collection: str, key: MasterKey) -> None:
    """Put the key's bytes under the collection's key resource.

    Raises:
        BadInput: no administration key, or it cannot be used.
        Unreachable: the Trustee does not answer, or none is named and no local one runs.
        CragError: it refuses the administration key.
    """
    with admin_client(trustee) as admin:
        admin.set_resource(trustee.key_resource(collection), key.raw)


def push_anchor(trustee: TrusteeSettings, collection: str, anchor: Anchor) -> None:
    """Put the anchor under the collection's snapshot resource; raises as :func:`push_key`."""
    with admin_client(trustee) as admin:
        admin.set_resource(trustee.snapshot_resource(collection), anchor.to_bytes())


def admin_client(trustee: TrusteeSettings) -> AdminClient:
    """A client that administers the owner's Trustee; raises as :func:`push_key`."""
    from crag_core.trustee.admin_options import AdminSettings

    return AdminSettings(
        trustee.url, trustee.admin_key_file, trustee.certificate, directory=None
    ).client()
