"""Sentences and words of passages, English and Chinese."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_provider.rag.sentences import excerpt, finished, in_order, rank, split
from crag_provider.rag.words import content, numbers

TOWN = (
    "# The mills\n\nWool was the main export until 1870. In that year the river\nflooded the "
    "mills. Dr. A. Smith, of the U.S. Army, saw it."
)
CHINESE = "数字化转型面临的最大挑战是\n组织文化。第二个挑战是数据质量！“为什么？”他问。"


def texts(text: str) -> list[str]:
    return [one.text for one in split(text)]


def test_english_sentences_end_at_their_stops() -> None:
    assert texts(TOWN) == [
        "Wool was the main export until 1870.",
        "In that year the river flooded the mills.",
        "Dr. A. Smith, of the U.S. Army, saw it.",
    ]


def test_chinese_sentences_end_at_theirs() -> None:
    assert texts(CHINESE) == [
        "数字化转型面临的最大挑战是组织文化。",
        "第二个挑战是数据质量！",
        "“为什么？”",
        "他问。",
    ]


def test_items_of_a_list_are_apart() -> None:
    assert texts("Rules:\n- One.\n- two\n1. three") == ["Rules:", "- One.", "- two", "1. three"]


@settings(deadline=None)
@given(st.text(max_size=400))
def test_no_word_of_any_text_is_lost(text: str) -> None:
    kept = "".join("".join(texts(text)).split())
    whole = "".join(text.split())
    assert kept == whole or "#" in text


@settings(deadline=None)
@given(st.text(st.sampled_from('aB.!? \n。"#-'), max_size=60), st.integers(1, 7))
def test_a_growing_text_has_the_sentences_of_the_whole(text: str, step: int) -> None:
    held, seen = "", []
    for at in range(0, len(text), step):
        whole, held = finished(held + text[at : at + step])
        seen += whole
    seen += texts(held)
    assert "".join("".join(seen).split()).replace("#", "") == "".join(
        "".join(texts(text)).split()
    ).replace("#", "")


@pytest.mark.parametrize("unit", [".", " ", "\n", '."', "A. ", "。", "# ", "| ", "x\n- ", "！” "])
def test_no_text_takes_long_to_split(unit: str) -> None:
    begun = time.process_time()
    split(unit * 50_000)
    assert time.process_time() - begun < 5


def test_words_are_compared_without_their_endings_and_numbers_by_value() -> None:
    assert content("The mills flooded") == content("flooding of a mill")
    assert numbers("19,018 km² in 1564, not 3.5 or 1,2") == {"19018", "1564", "3.5", "1,2"}
    assert content("数据质量") == {"数据", "据质", "质量"}
    assert content("What is the answer to this question?") == frozenset()


def test_the_sentence_that_speaks_of_the_question_comes_first() -> None:
    assert rank("When was wool the main export?", [TOWN])[0].text.startswith("Wool")
    assert rank("数据质量是第几个挑战?", [TOWN, CHINESE])[0].text == "第二个挑战是数据质量！"


def test_an_earlier_passage_wins_a_tie() -> None:
    first = rank("mills", ["The mills burned.", "The mills burned."])[0]
    assert (first.passage, first.index) == (0, 0)


def test_where_no_word_is_shared_similarity_decides() -> None:
    asked: list[str] = []

    def similarity(found: object) -> list[float]:
        asked.extend(found)  # type: ignore[call-overload]
        return [float("flooded" in one) for one in asked]

    assert "flooded" in rank("洪水发生了什么?", [TOWN], similarity)[0].text
    assert len(asked) == 3
    asked.clear()
    rank("What flooded the mills?", [TOWN], similarity)
    assert asked == []


def test_chosen_sentences_stand_as_in_the_passages() -> None:
    ranked = rank("mills flooded Smith", [TOWN, CHINESE])
    assert [(one.passage, one.index) for one in in_order(ranked)] == sorted(
        (one.passage, one.index) for one in ranked
    )


def test_an_announcement_is_quoted_with_what_it_announces() -> None:
    text = "挑战有两项。第一是数据孤岛。第二是人才短缺。" + "此外还有许多别的事情。" * 40
    ranked = rank("挑战是什么？", [text])
    ranked.sort(key=lambda one: one.index != 0)
    quoted = "".join(one.text for one in excerpt(ranked))
    assert quoted.startswith("挑战有两项。第一是数据孤岛。第二是人才短缺。")
    assert len(quoted) <= 220


def test_a_last_sentence_is_joined_by_the_second_best() -> None:
    ranked = rank(
        "When did the branch open?", ["It is small. The branch did open in May.", "A branch."]
    )
    assert [one.text for one in excerpt(ranked)] == ["The branch did open in May.", "A branch."]
    assert excerpt([]) == []
