"""The HTTP API, on loopback behind the gateway."""
