"""A reader of binary evidence that never reads past the end."""

from __future__ import annotations

from crag_core.errors import AttestationRejected


class Cursor:
    """Read little-endian fields of ``data`` one after the other.

    Args:
        data: the bytes to read.
        what: what they are, for the sentence of a refusal ("event log").
    """

    def __init__(self, data: bytes, what: str) -> None:
        self.data = data
        self.what = what
        self.position = 0

    @property
    def left(self) -> int:
        """How many bytes are not read yet."""
        return len(self.data) - self.position

    def take(self, count: int, field: str) -> bytes:
        """The next ``count`` bytes.

        Raises:
            AttestationRejected: fewer are left.
        """
        if count < 0 or count > self.left:
            raise AttestationRejected(
                f"The {self.what} is truncated: {field} needs {count} bytes at offset "
                f"{self.position}, {self.left} are left.",
                code="malformed-evidence",
            )
        start = self.position
        self.position += count
        return self.data[start : self.position]

    def number(self, size: int, field: str) -> int:
        """The next ``size`` bytes as an unsigned little-endian number."""
        return int.from_bytes(self.take(size, field), "little")

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.take(self.left, "the rest")

    def expect(self, value: bytes, field: str) -> None:
        """Read ``len(value)`` bytes that must be ``value``.

        Raises:
            AttestationRejected: they are something else.
        """
        place = self.position
        found = self.take(len(value), field)
        if found != value:
            raise self.malformed(f"{field} at offset {place} is {found.hex()}, not {value.hex()}")

    def malformed(self, why: str) -> AttestationRejected:
        """The error to raise when what was read makes no sense."""
        return AttestationRejected(
            f"The {self.what} is malformed: {why}.", code="malformed-evidence"
        )
