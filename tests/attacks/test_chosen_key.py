"""A man in the middle, or the Trustee itself, gives the provider a data key of its own choosing.

The answer is encrypted to the session's key, but anybody who saw that public key can encrypt to
it. With a key of theirs the service would believe rows of theirs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import httpx
import pytest

from crag_core.attestation.evidence import SampleSource
from crag_core.errors import IntegrityViolated
from crag_core.keys import MasterKey
from crag_core.trustee.local.jwe_encrypt import encrypt
from crag_provider.key_release import ReleasedKeys, released_keys
from crag_provider.settings import ProviderSettings
from support.scripted_http import Answer, Asked, ScriptedServer
from support.trustee import RESOURCE, Place, measurement, start

GENUINE, CHOSEN = MasterKey.generate(), MasterKey.generate()


class Liar:
    """Speaks the key broker's protocol 0.4.0 and answers each resource with ``gives``.

    With ``genuine`` it lies in the middle: everything but the resource is the genuine Trustee's.
    """

    def __init__(self, gives: bytes, genuine: Place | None = None) -> None:
        self.gives = gives
        self.genuine = genuine
        self._jwk: dict[str, str] = {}

    def __call__(self, asked: Asked) -> Answer:
        step = asked.path.split("/kbs/v0/")[-1]
        if step == "attest":
            self._jwk = asked.json()["runtime-data"]["tee-pubkey"]
        if step.endswith("-snapshot"):
            return Answer(200, json.dumps(encrypt(self._jwk, b"{}")).encode())
        if step.startswith("resource/"):
            if self.genuine is not None:
                assert self._passed_on(asked).status == 200  # it had the right to its key
            return Answer(200, json.dumps(encrypt(self._jwk, self.gives)).encode())
        if self.genuine is not None:
            return self._passed_on(asked)
        if step == "auth":
            body = {"nonce": "A" * 44, "extra-params": ""}
            cookie = {"set-cookie": "kbs-session-id=0123456789abcdef"}
            return Answer(200, json.dumps(body).encode(), cookie)
        return Answer(200, b'{"token": "a.b.c"}')

    def _passed_on(self, asked: Asked) -> Answer:
        assert self.genuine is not None
        wanted = {k: v for k, v in asked.headers.items() if k.lower() in ("cookie", "content-type")}
        url = f"{self.genuine.url.removesuffix('/api')}{asked.path}"
        reply = httpx.request(
            asked.method, url, content=asked.body, headers=wanted, trust_env=False
        )
        kept = {k: v for k, v in reply.headers.items() if k in ("set-cookie", "content-type")}
        return Answer(reply.status_code, reply.content, kept)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = start(tmp_path_factory.mktemp("home") / "trustee")
    made.allow(measurement())
    with made.admin() as admin:
        admin.set_resource(RESOURCE, GENUINE.raw)
    yield made
    made.trustee.stop()


@contextmanager
def lying(liar: Liar) -> Iterator[ProviderSettings]:
    """The settings of a provider who asks ``liar`` for the key that the owner's check pins."""
    with ScriptedServer(liar) as server:
        yield ProviderSettings(
            trustee_url=f"{server.url}/api",
            model_key_id="",
            alt_trustee_url=f"{server.url}/api",
            alt_key_id=f"kbs:///{RESOURCE}",
            collection="documents",
            data_key_check=GENUINE.check_value(),
            llm="extractive",
        )


def released(settings: ProviderSettings) -> ReleasedKeys:
    return released_keys(settings, SampleSource(measurement()))


@pytest.mark.parametrize("middle", [False, True], ids=["lying trustee", "liar in the middle"])
def test_chosen_key_by_a_man_in_the_middle(place: Place, middle: bool) -> None:
    liar = Liar(GENUINE.raw, place if middle else None)
    with lying(liar) as settings:
        # The control: through the same liar, the owner's key is taken.
        assert bytes(released(settings).data.buffer) == GENUINE.raw
        liar.gives = CHOSEN.raw
        with pytest.raises(IntegrityViolated) as caught:
            released(settings)
        assert caught.value.code == "data-key-mismatch"
        assert caught.value.exit_code == 12
        told = json.dumps(caught.value.as_json())
        assert CHOSEN.raw.hex() not in told
        assert CHOSEN.check_value() not in told


def test_chosen_key_is_taken_where_no_check_value_is_pinned(place: Place) -> None:
    """What the warning of 'serve' without --data-key-check is about."""
    with lying(Liar(CHOSEN.raw, place)) as settings:
        unpinned = replace(settings, data_key_check="")
        assert bytes(released(unpinned).data.buffer) == CHOSEN.raw


@pytest.mark.parametrize("length", [0, 16, 31, 33, 4096])
def test_what_is_no_key_is_refused(length: int) -> None:
    from crag_core.errors import CragError

    with lying(Liar(b"k" * length)) as settings, pytest.raises(CragError):
        released(settings)
