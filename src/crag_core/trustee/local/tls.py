"""The certificate with which the Trustee is served over https."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from crag_core.errors import BadInput


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: the certificate with its chain, and its private key."""

    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 or later with this certificate.

        Raises:
            BadInput: a file cannot be used, or the two don't belong together.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            # An encrypted key must not make the server wait for a passphrase on its terminal.
            context.load_cert_chain(self.certificate, self.key, password=lambda: b"")
        except (OSError, ssl.SSLError):
            raise BadInput(
                f"{self.certificate} and {self.key} cannot be used for https.",
                hint="They must be PEM files, a certificate and its private key without a "
                "passphrase.",
            ) from None
        return context
