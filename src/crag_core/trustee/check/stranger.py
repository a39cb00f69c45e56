"""Claims of a genuine TD that nobody knows, in the shapes of every Trustee's policy input."""

from __future__ import annotations

import secrets
from typing import Any

_REGISTERS = (
    *("mr_seam", "mrsigner_seam", "mr_td", "mr_config_id", "mr_owner", "mr_owner_config"),
    *("rtmr_0", "rtmr_1", "rtmr_2", "rtmr_3"),
)


def _body(*, debug: bool) -> dict[str, str]:
    body = {name: secrets.token_hex(48) for name in _REGISTERS}
    attributes = bytes([1 if debug else 0, 0, 0, 0x10]) + bytes(4)
    return {
        **body,
        "tcb_svn": secrets.token_hex(16),
        "seam_attributes": "00" * 8,
        "td_attributes": attributes.hex(),
        "xfam": secrets.token_hex(8),
        "report_data": secrets.token_hex(64),
    }


def ear_input(*, debug: bool) -> dict[str, Any]:
    """What a policy for EAR tokens gets, with the members of all versions."""
    tdx = {
        "quote": {
            "header": {
                "version": "0400",
                "att_key_type": "0200",
                "tee_type": "81000000",
                "reserved": "00000000",
                "vendor_id": "939a7233f79c4ca9940a0db3957f0607",
                "user_data": "00" * 20,
            },
            "body": _body(debug=debug),
        },
        "td_attributes": {"debug": debug, "septve_disable": True},
        "ccel": {},
        "uefi_event_logs": [],
        "tcb_status": "UpToDate",
        "collateral_expiration_status": "0",
        "advisory_ids": [],
        "tcb_verification": {
            "tcb_status": "UpToDate",
            "collateral_expired": False,
            "advisory_ids": "",
        },
    }
    return {"tdx": tdx, "report_data": "00" * 64, "init_data": "00" * 48}


def simple_input(*, debug: bool) -> dict[str, Any]:
    """What a policy for Simple tokens gets: the same, flattened."""
    flat: dict[str, Any] = {"report_data": "00" * 64, "init_data": "00" * 48}
    flat.update({f"tdx.quote.body.{name}": value for name, value in _body(debug=debug).items()})
    flat["tdx.quote.header.tee_type"] = "81000000"
    flat["tdx.quote.header.vendor_id"] = "939a7233f79c4ca9940a0db3957f0607"
    return flat
