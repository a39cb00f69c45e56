"""The real llama.cpp in its child: keyed, silent, gone with us, reading from a mount or memory."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from crag_core.errors import BadInput, CragError, Unreachable
from crag_provider.llm.external import external
from crag_provider.llm.interface import LlmEndpoint
from crag_provider.llm.llamacpp import LlamaLimits, find_gguf, llamacpp
from crag_provider.model.encryption import encrypt
from crag_provider.model.opening import OpenModel, open_model
from crag_provider.rag.chain import answer_chain
from crag_provider.rag.style import SMALL
from crag_provider.secret import Secret
from support.poll import until
from support.provider import descendants, gone, smollm2

LIMITS = LlamaLimits(threads=1)
CONTEXT = "The Lind bridge was opened in 1931 by Mayor Anna Lind. It is 420 metres long."
ASKED = {"context": CONTEXT, "question": "Who opened the Lind bridge?"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[LlmEndpoint]:
    with llamacpp(OpenModel(smollm2().parent, (), "fuse"), LIMITS) as up:
        yield up


def get(url: str, key: str = "") -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.get(url, headers=headers, trust_env=False, timeout=10)


def test_the_chain_answers_from_the_context(endpoint: LlmEndpoint) -> None:
    chain = answer_chain(endpoint, SMALL)
    assert "Anna Lind" in chain.invoke(ASKED)
    parts = list(chain.stream(ASKED))
    assert len(parts) > 3 and "Anna Lind" in "".join(parts)


def test_many_questions_one_after_the_other_are_answered(endpoint: LlmEndpoint) -> None:
    chain = answer_chain(endpoint, dataclasses.replace(SMALL, max_tokens=2))

    async def run() -> list[str]:
        return ["".join([part async for part in chain.astream(ASKED)]) for _ in range(30)]

    assert all(asyncio.run(run()))


def test_nothing_is_served_without_the_key(endpoint: LlmEndpoint) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    for headers in ({}, {"authorization": "Bearer wrong"}):
        reply = httpx.post(
            f"{endpoint.url}/chat/completions", json=body, headers=headers, trust_env=False
        )
        assert reply.status_code == 401
    assert get(f"{endpoint.url}/models", endpoint.api_key).status_code == 200


def test_no_interface_shows_what_others_asked(endpoint: LlmEndpoint) -> None:
    base = endpoint.url.removesuffix("/v1")
    for path in ("/slots", "/metrics"):
        assert get(base + path, endpoint.api_key).status_code == 501


def test_the_key_is_in_no_command_line_and_no_environment(endpoint: LlmEndpoint) -> None:
    children = descendants(os.getpid())
    assert children
    for pid in children:
        for name in ("cmdline", "environ"):
            # other tests' servers have children that come and go
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                assert endpoint.api_key.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()


def test_the_endpoint_never_prints_its_key(endpoint: LlmEndpoint) -> None:
    assert endpoint.api_key not in repr(endpoint)


def test_an_external_server_is_asked_for_its_model(endpoint: LlmEndpoint) -> None:
    found = external(endpoint.url, "", endpoint.api_key)
    assert found.model == endpoint.model
    with pytest.raises(CragError, match="has no model 'other'"):
        external(endpoint.url, "other", endpoint.api_key)
    with pytest.raises(CragError, match="status 401"):
        external(endpoint.url, "", "wrong")
    with pytest.raises(Unreachable):
        external("http://127.0.0.1:9/v1", "", "")


def test_a_model_in_memory_is_read_by_the_child_alone(tmp_path: Path) -> None:
    encrypt(smollm2(), tmp_path / "volume", Secret(b"word"))
    with open_model(tmp_path / "volume", b"word", tmp_path / "point", "memory") as model:
        with llamacpp(model, LIMITS) as up:
            assert up.alive()
            assert "Anna Lind" in answer_chain(up, SMALL).invoke(ASKED)
        assert not up.alive()


def test_a_file_that_is_no_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + os.urandom(100))
    with (
        pytest.raises(CragError, match=r"llama\.cpp could not load"),
        llamacpp(OpenModel(tmp_path, (), "fuse"), LIMITS),
    ):
        raise AssertionError("it loaded")


def test_a_volume_has_one_model(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no GGUF file"):
        find_gguf(tmp_path)
    for name in ("b-00001-of-00002.gguf", "b-00002-of-00002.gguf"):
        (tmp_path / name).touch()
    assert find_gguf(tmp_path).name == "b-00001-of-00002.gguf"
    (tmp_path / "a.gguf").touch()
    with pytest.raises(BadInput, match="2 GGUF files"):
        find_gguf(tmp_path)


_HOLD = """
import pathlib, sys
from crag_provider.llm.llamacpp import LlamaLimits, llamacpp
from crag_provider.model.opening import OpenModel
with llamacpp(OpenModel(pathlib.Path(sys.argv[1]), (), "fuse"), LlamaLimits(threads=1)) as up:
    print(up.url, flush=True)
    sys.stdin.read()
"""


def test_kill_9_ends_the_model_too() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(smollm2().parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        assert get(f"{url}/models").status_code == 401
        children = descendants(process.pid)
        assert children
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    gone(children)

    def refused() -> bool:
        try:
            get(f"{url}/models")
        except httpx.ConnectError:
            return True
        return False

    until(refused, 10, "the end of the server")
