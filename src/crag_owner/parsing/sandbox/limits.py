"""How much one file may cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from crag_core.errors import BadInput

MIB = 1024 * 1024


@dataclass(frozen=True)
class SandboxLimits:
    """For one file: ``seconds`` by the clock and of processor time, ``memory`` in bytes.

    ``text`` bounds the answer in bytes, ``line`` the longest line in characters, ``sections`` their
    number.

    Raises:
        BadInput: a limit under which nothing could be parsed.
    """

    seconds: float = 120.0
    memory: int = 1024 * MIB
    text: int = 64 * MIB
    line: int = MIB
    sections: int = 200_000

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= 86_400:
            raise BadInput(
                f"A file cannot be given {self.seconds:g} seconds.", hint="Use 1 to 86400."
            )
        if self.memory < 64 * MIB:
            raise BadInput(
                f"A file cannot be parsed in {self.memory / MIB:g} MiB.", hint="Use at least 64."
            )

    def as_json(self) -> dict[str, float]:
        """For the request to the fork server."""
        return asdict(self)
