"""Get the keys that this service may have: prove what runs here, check what comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crag_core.errors import BadInput, CragError, IntegrityViolated, PolicyDenied
from crag_provider.secret import Secret
from crag_provider.settings import ProviderSettings

if TYPE_CHECKING:
    from crag_core.attestation.evidence import EvidenceSource

FETCH_SECONDS = 30.0
_MAX_ANCHOR_BYTES = 65536


@dataclass
class ReleasedKeys:
    """``model``: password of the volume, or None where no model is used; ``data``: the owner's
    master key; ``anchor``: the owner's last word on the collection, JSON text, or None."""

    data: Secret
    model: Secret | None = None
    anchor: str | None = None

    def wipe(self) -> None:
        """Overwrite both keys."""
        self.data.wipe()
        if self.model is not None:
            self.model.wipe()


def released_keys(
    settings: ProviderSettings,
    source: EvidenceSource,
    say: Callable[[str], None] = lambda _text: None,
) -> ReleasedKeys:
    """Attest to both Trustees and fetch what they release to this measurement.

    Raises:
        AttestationRejected: a Trustee refused the evidence.
        PolicyDenied: its policy releases the key to another measurement, or to none.
        IntegrityViolated: the data key is not the one with the pinned check value.
        Unreachable: a Trustee does not answer within 30 s.
        BadInput: what came back is no key.
        CragError: no such resource; or no anchor, where one is required (code ``no-anchor``).
    """
    keys = ReleasedKeys(Secret(b""))
    try:
        if settings.needs_model:
            say("attesting to the provider's Trustee for the model's key")
            with _client(settings, settings.trustee_url, source, settings.trustee_ca) as client:
                keys.model = Secret(client.fetch(settings.model_key_id))
        say("attesting to the owner's Trustee for the data key")
        url, ca = settings.alt_trustee_url, settings.alt_trustee_ca
        with _client(settings, url, source, ca) as client:
            keys.data = Secret(client.fetch(settings.alt_key_id))
            require_check_value(keys.data, settings.data_key_check)
            keys.anchor = _anchor(client, settings)
    except BaseException:
        keys.wipe()
        raise
    return keys


def _client(settings: ProviderSettings, url: str, source: EvidenceSource, ca: Path | None) -> Any:
    """Whatever fetches the keys: the key broker's client, or the agent's data hub."""
    from crag_core.trustee.kbs import KbsClient

    if settings.key_source == "cdh":
        from crag_provider.data_hub import DataHub

        return DataHub(settings.agent_url, settings.cdh_config, url)

    return KbsClient(url, source, ca=ca, total=FETCH_SECONDS)


def require_check_value(data_key: Secret, pinned: str) -> None:
    """Compare a fetched data key with the pinned check value; nothing pinned accepts any.

    The Trustee's answer is encrypted to us, but anybody on the way could have encrypted it: a key
    of their choice would make us believe rows of theirs.

    Raises:
        IntegrityViolated: another key came back.
    """
    from crag_core.keys import MasterKey

    if pinned and not MasterKey.from_bytes(bytes(data_key.buffer)).matches(pinned):
        raise IntegrityViolated(
            "The data key from the owner's Trustee does not have the pinned check value: it is "
            "another key.",
            hint="Ask the owner for 'crag-owner key show' and compare with "
            "CRAG_PROVIDER_DATA_KEY_CHECK; if they differ on purpose, change it there.",
            code="data-key-mismatch",
        )


def _anchor(client: Any, settings: ProviderSettings) -> str | None:
    """The owner's anchor, or None where the owner's Trustee has or releases none."""
    name = settings.anchor_id
    try:
        raw: bytes = client.fetch(name)
    except CragError as error:
        # The data hub has just given the key, and does not tell why it gives no anchor.
        missing = error.code in ("resource-missing", "cdh-refused")
        if not missing and not isinstance(error, PolicyDenied):
            raise
        if settings.require_anchor:
            raise _withheld(name, missing) from None
        return None
    try:
        if len(raw) > _MAX_ANCHOR_BYTES:
            raise _no_anchor(name)
        json.loads(raw)
        return raw.decode()
    except (ValueError, RecursionError):
        raise _no_anchor(name) from None


def _withheld(name: str, missing: bool) -> CragError:
    """Trustees refuse what is missing and what is forbidden in one way, so both are told."""
    kind = CragError if missing else PolicyDenied
    return kind(
        f"The owner's Trustee gives no anchor ({name}), without which nobody would notice "
        "documents rolled back to an earlier state before this start.",
        hint="The owner runs 'crag-owner key push' once more after an ingest, and releases it with "
        f"'trustee policy apply --resource {name}' beside the key. --no-require-anchor starts "
        "without it.",
        code="no-anchor",
    )


def _no_anchor(name: str) -> BadInput:
    return BadInput(
        f"The anchor {name} in the owner's Trustee is no anchor.",
        hint="The owner writes it anew with 'crag-owner key push'.",
    )
