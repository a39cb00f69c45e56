"""What only a look at the Trustee's own machine shows: the admin's private key."""

from __future__ import annotations

import ipaddress
import socket
import stat
from pathlib import Path
from urllib.parse import urlsplit

from crag_core.config import home
from crag_core.trustee.check.findings import Finding, found

# Where the vendor's packages and guides put it.
VENDOR_KEYS = (Path("/etc/trustee/private.key"), Path("/opt/trustee/kbs/private.key"))


def probe_host(url: str, key_files: tuple[Path, ...] | None = None) -> list[Finding]:
    """Look for the admin's key where the Trustee runs on this machine; elsewhere nothing."""
    if not _here(urlsplit(url).hostname or ""):
        return []
    own = (home() / "trustee" / "admin.key",)
    made = []
    for path in key_files if key_files is not None else (*VENDOR_KEYS, *own):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue
        if mode & 0o077:
            seen = f"{path} has mode {mode:04o}."
            made.append(found("admin-key-readable", seen, FILE=str(path)))
        elif path in VENDOR_KEYS:
            made.append(found("admin-key-on-host", f"{path} is here.", FILE=str(path)))
    return made


def _here(host: str) -> bool:
    """Whether an address is one of this machine's."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    if address.is_loopback:
        return True
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True
