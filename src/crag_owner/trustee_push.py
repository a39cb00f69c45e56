"""Hand the key and the anchor to the owner's Trustee."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crag_core.command import console
from crag_core.keys import MasterKey
from crag_owner.options import TrusteeSettings
from crag_owner.release_check import look, refuse_open

if TYPE_CHECKING:
    from crag_core.snapshot import Anchor
    from crag_core.trustee.admin import AdminClient


def push_key(trustee: TrusteeSettings, collection: str, key: MasterKey) -> str:
    """Put the key's bytes under the collection's key resource, if not anybody would get it there.

    Returns:
        Who gets it: ``conditional``, ``nobody`` or ``unknown``.

    Raises:
        PolicyDenied: the Trustee's resource policy releases it to workloads without evidence.
        BadInput: no administration key, or it cannot be used.
        Unreachable: the Trustee does not answer, or none is named and no local one runs.
        CragError: it refuses the administration key.
    """
    resource = trustee.key_resource(collection)
    where = trustee.url or "the local Trustee"
    with admin_client(trustee) as admin:
        release = look(admin, resource)
        warning = refuse_open(release, resource, where)
        admin.set_resource(resource, key.raw)
    if warning:
        console().warn(warning)
    return release.verdict


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
