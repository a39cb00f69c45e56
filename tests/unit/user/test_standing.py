"""When an answer on its way is cut: a refusal at once, silence later, never while affirmed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from crag_core.errors import AttestationRejected, CragError, Unreachable
from crag_user import link as module
from crag_user.guard.standing import Withdrawn, until_withdrawn
from crag_user.link import Link
from crag_user.service import Service
from crag_user.trust import Judgement
from unit.user.test_link import token, trust

EVERY = 0.2


class Proving:
    """Proves what ``outcome`` says, which is given the number of the proof."""

    def __init__(self, outcome: Callable[[int], CragError | None]) -> None:
        self.proved_at = time.monotonic()
        self.asked = 0
        self.distrusted = False
        self._outcome = outcome

    async def prove(self, within: float) -> None:
        assert within == EVERY / 4
        self.asked += 1
        error = self._outcome(self.asked)
        if error is not None:
            raise error
        self.proved_at = time.monotonic()

    def distrust(self) -> None:
        self.distrusted = True


def cut(prover: Proving, seconds: float = 5) -> Withdrawn | None:
    """The reason of the cut, or None where there is none for ``seconds``."""

    async def run() -> Withdrawn | None:
        try:
            async with asyncio.timeout(seconds):
                return await until_withdrawn(prover, EVERY)
        except TimeoutError:
            return None

    return asyncio.run(run())


def test_nothing_is_cut_while_the_service_proves_itself() -> None:
    prover = Proving(lambda _n: None)
    assert cut(prover, 6 * EVERY) is None
    assert 2 <= prover.asked <= 7
    assert not prover.distrusted


def test_a_refusal_cuts_at_once_with_its_reason() -> None:
    prover = Proving(lambda n: AttestationRejected("No longer.") if n == 2 else None)
    error = cut(prover)
    assert error is not None
    assert error.exit_code == 10
    assert "No longer." in error.message
    assert prover.asked == 2
    assert prover.distrusted


def test_a_moment_of_silence_cuts_nothing() -> None:
    prover = Proving(lambda n: Unreachable("Silence.") if n in (1, 3) else None)
    assert cut(prover, 6 * EVERY) is None


def test_lasting_silence_cuts_within_twice_the_interval() -> None:
    prover = Proving(lambda _n: Unreachable("Silence."))
    begun = time.monotonic()
    error = cut(prover)
    assert error is not None
    assert "Silence." in error.message
    assert time.monotonic() - begun < 2 * EVERY + 0.5
    assert prover.asked > 2


def test_a_proof_that_never_ends_is_silence() -> None:
    class Hanging(Proving):
        async def prove(self, within: float) -> None:
            await asyncio.sleep(60)

    begun = time.monotonic()
    assert cut(Hanging(lambda _n: None)) is not None
    assert time.monotonic() - begun < 2 * EVERY + 0.5


def made(monkeypatch: pytest.MonkeyPatch, *tokens: str) -> Link:
    """A link whose service proves itself by ``tokens``, one after the other."""
    link, left = Link(Service.parse("http://10.0.0.1:20001"), trust()), list(tokens)
    monkeypatch.setattr(
        module, "preflight", lambda *_a, **_k: type("Proof", (), {"token": left.pop(0)})
    )
    return link


def admitted() -> Judgement:
    return trust().judge(token())


def test_one_proof_serves_whoever_asks_within_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    link = made(monkeypatch, token())

    async def run() -> None:
        await asyncio.gather(link.prove(60), link.prove(60), link.prove(60))

    asyncio.run(run())
    assert time.monotonic() - link.proved_at < 30


def test_other_software_at_the_same_address_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"sample": {"svn": "1", "measure_register": "cd" * 32}, "runtime_data_claims": {"n": 1}}
    link = made(monkeypatch, token(), token(**{"ear.veraison.annotated-evidence": other}))
    link._judged = {("key", "token"): admitted()}
    asyncio.run(link.prove(0))
    with pytest.raises(AttestationRejected, match="other software"):
        asyncio.run(link.prove(0))


def test_after_a_cut_nothing_is_admitted_without_a_fresh_proof(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    low = token(**{"ear.status": "contraindicated"})
    link = made(monkeypatch, low, token())
    known = admitted()

    async def still_held() -> Judgement:
        return known

    monkeypatch.setattr(link, "_known", still_held)
    assert asyncio.run(link.admit()) is known
    link.distrust()
    with pytest.raises(AttestationRejected):
        asyncio.run(link.admit())
    assert asyncio.run(link.admit()) is known
