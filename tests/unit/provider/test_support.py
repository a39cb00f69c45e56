"""What a model says is let through only where a passage says it."""

from __future__ import annotations

import pytest

from crag_provider.rag.support import Checker

BRIDGE = (
    "The Lind bridge was opened in 1931 by Mayor Anna Lind. It is 420 metres long and carries "
    "two tracks. The tunnel was dug by Otto Berg in 1955."
)
CHINESE = "公司在2021年成立了数据治理委员会。委员会由王芳领导。"
WHO = "Who opened the Lind bridge?"


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        (WHO, "The Lind bridge was opened by Mayor Anna Lind."),
        (WHO, "Mayor Anna Lind opened the Lind bridge in 1931."),
        ("How long is the Lind bridge?", "The bridge is 420 metres long."),
        (WHO, "Mayor Anna"),
    ],
)
def test_what_the_passage_says_is_supported(question: str, sentence: str) -> None:
    assert Checker(question, ["Nothing here.", BRIDGE], 1.0).check(sentence) == 1


@pytest.mark.parametrize(
    "sentence",
    [
        "The Lind bridge was opened by Mayor Clara Lund.",
        "The Lind bridge was opened in 1932 by Mayor Anna Lind.",
        "The Lind bridge was opened by Mayor Anna Lind and the army.",
        "The Lind bridge.",
        "The answer is: 420.",
        "",
        "Anna Lind was there, was there, was there, was there, was there, was there.",
    ],
)
def test_what_it_does_not_say_is_not(sentence: str) -> None:
    assert Checker(WHO, [BRIDGE], 1.0).check(sentence) is None


def test_far_apart_sentences_are_not_put_together() -> None:
    far = (
        BRIDGE + " " + "Nobody knows more of it. " * 3 + "The park was planted by Ida Holm in 1900."
    )
    check = Checker("Who planted the park?", [far], 1.0).check
    assert check("The park was planted by Ida Holm in 1900.") == 0
    assert check("The park was planted by Ida Holm in 1955.") is None


def test_a_stronger_model_may_use_other_words_but_no_other_names_or_numbers() -> None:
    check = Checker(WHO, [BRIDGE], 0.5).check
    assert check("Mayor Anna Lind inaugurated the bridge in 1931.") == 0
    assert check("Mayor Anna Lind inaugurated the bridge in 1913.") is None
    assert check("Mayor Anna Bergmann inaugurated the bridge in 1931.") is None


def test_chinese_is_checked_by_its_characters() -> None:
    check = Checker("数据治理委员会什么时候成立?", [CHINESE], 1.0).check
    assert check("数据治理委员会在2021年成立。") == 0
    assert check("数据治理委员会在2022年成立。") is None
    assert check("数据治理委员会由李强领导。") is None
