"""Whether the service still stands: proved anew, on the side, while an answer is on its way.

TNG admits a request by a verdict that it holds already, and an answer may go on for as long as the
service likes. Nothing in it tells that the Trustee has stopped affirming meanwhile, so the guard
has the service prove itself again by its own clock.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from crag_core.errors import AttestationRejected, CragError, PolicyDenied

RECHECK_SECONDS = 30.0


class Prover(Protocol):
    """What has the service prove itself."""

    @property
    def proved_at(self) -> float:
        """When it last did, in seconds of the monotonic clock."""

    async def prove(self, within: float) -> None:
        """Have it prove itself, unless it did within the last ``within`` seconds.

        Raises:
            AttestationRejected: it is not affirmed any more, or is something else by now.
            CragError: it, or the Trustee, does not answer.
        """

    def distrust(self) -> None:
        """Let nothing pass before it proves itself again."""


class Withdrawn(AttestationRejected):
    """The verdict under which an answer began does not hold any more."""

    slug = "verdict-withdrawn"


async def until_withdrawn(prover: Prover, seconds: float) -> Withdrawn:
    """Return, with the reason, once nobody affirms the service any more.

    A proof is due ``seconds`` after the last one, but not before an answer has taken a quarter of
    that, so that short ones cost none. A refusal counts at once; silence is asked again and counts
    after three quarters. So an answer ends within twice ``seconds`` after its Trustee turned.
    """
    while True:
        now = time.monotonic()
        await asyncio.sleep(max(prover.proved_at + seconds - now, seconds / 4))
        error = await _failure(prover, seconds)
        if error is not None:
            prover.distrust()
            return error


async def _failure(prover: Prover, seconds: float) -> Withdrawn | None:
    pause = seconds / 8
    deadline = asyncio.get_running_loop().time() + seconds * 3 / 4
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                await prover.prove(seconds / 4)
        except (AttestationRejected, PolicyDenied) as error:
            return _withdrawn(error.message)
        except (CragError, TimeoutError) as error:
            if asyncio.get_running_loop().time() + pause >= deadline:
                told = error.message if isinstance(error, CragError) else "It did not answer."
                return _withdrawn(told)
        else:
            return None
        await asyncio.sleep(pause)


def _withdrawn(why: str) -> Withdrawn:
    return Withdrawn(
        f"The answer was cut off: the service could not prove itself again. {why}",
        hint="What came before was read under a verdict that held. Ask again; if it stays so, its "
        "provider or your Trustee's operator has to act.",
    )
