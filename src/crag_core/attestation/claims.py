"""The events of a CCEL as claims, in the form of Trustee 1.9's ``uefi_event_logs``.

Register index, type, digests and data are exact. ``details`` reads the kinds whose data is text, a
variable, a device path or an AAEL event.
"""

from __future__ import annotations

import base64
import uuid
from typing import Any

from crag_core.attestation.aael import parse_tagged
from crag_core.attestation.ccel import EventLog, LogEvent
from crag_core.attestation.cursor import Cursor
from crag_core.attestation.devicepath import image_paths
from crag_core.errors import AttestationRejected

_TEXT = {"EV_IPL", "EV_POST_CODE", "EV_PLATFORM_CONFIG_FLAGS", "EV_ACTION", "EV_EFI_ACTION"}
_COUNTED = {"EV_EFI_HANDOFF_TABLES2", "EV_EFI_PLATFORM_FIRMWARE_BLOB2"}
_VARIABLE = {
    "EV_EFI_VARIABLE_DRIVER_CONFIG",
    "EV_EFI_VARIABLE_BOOT",
    "EV_EFI_VARIABLE_BOOT2",
    "EV_EFI_VARIABLE_AUTHORITY",
}
_IMAGE = {
    "EV_EFI_BOOT_SERVICES_APPLICATION",
    "EV_EFI_BOOT_SERVICES_DRIVER",
    "EV_EFI_RUNTIME_SERVICES_DRIVER",
}


def event_claims(log: EventLog) -> list[dict[str, Any]]:
    """One object per event: ``type_name``, ``index``, ``digests``, ``event`` (base64), ``details``.

    Raises:
        AttestationRejected: an AAEL event is malformed or its digest is not that of its text.
    """
    return [_claim(event) for event in log.events]


def _claim(event: LogEvent) -> dict[str, Any]:
    digests = [{"alg": name, "digest": value.hex()} for name, value in event.digests.items()]
    return {
        "type_name": event.type_name,
        "index": event.index,
        "digests": digests,
        "event": base64.b64encode(event.data).decode(),
        "details": _details(event),
    }


def _details(event: LogEvent) -> dict[str, Any]:
    tagged = parse_tagged(event)
    if tagged is not None:
        return {"unicode_name": "AAEL", "string": tagged.line(), "data": tagged.as_json()}
    if event.type_name in _TEXT:
        return {"string": _text(event.data)}
    try:
        if event.type_name in _COUNTED:
            cursor = Cursor(event.data, "event")
            return {"string": _text(cursor.take(cursor.number(1, "length"), "text"))}
        if event.type_name in _VARIABLE:
            return _variable(Cursor(event.data, "event"))
        if event.type_name in _IMAGE:
            return {"device_paths": image_paths(event.data)}
    except AttestationRejected:
        return {}
    return {}


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "replace")


def _variable(cursor: Cursor) -> dict[str, Any]:
    owner = cursor.take(16, "GUID")
    name_length = cursor.number(8, "name length")
    size = cursor.number(8, "data length")
    name = cursor.take(2 * name_length, "name").decode("utf-16-le", "replace")
    return {
        "variable_name": str(uuid.UUID(bytes=owner)),
        "unicode_name": name,
        "unicode_name_length": name_length,
        "variable_data": base64.b64encode(cursor.take(size, "data")).decode(),
        "variable_data_length": size,
    }
