"""How long a text is for a model whose tokenizer is not at hand."""

from __future__ import annotations

import re

_WORD = re.compile(r"[A-Za-z]+|[0-9]|\s+|.", re.DOTALL)
_LETTERS_PER_TOKEN = 4


def estimate_tokens(text: str) -> int:
    """An upper estimate of the tokens of ``text``.

    Latin words count one token for every 4 letters begun, digits, signs and every other character
    one each, white space none. Multilingual tokenizers stay below that for Chinese and English.
    """
    total = 0
    for piece in _WORD.findall(text):
        if piece[0].isspace():
            continue
        ascii_letters = piece.isascii() and piece.isalpha()
        total += -(-len(piece) // _LETTERS_PER_TOKEN) if ascii_letters else 1
    return total
