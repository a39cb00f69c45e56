"""Formats behind the extra ``longtail``."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import PurePath

import pytest

from crag_owner.parsing import Section, Unreadable, parser_for
from crag_owner.parsing.longtail import PARSERS
from crag_owner.parsing.sandbox import ParsingSandbox
from support import documents

INSTALLED = all(map(importlib.util.find_spec, ("langchain_community", "xmltodict")))
_NOTEBOOK = json.dumps(
    {"cells": [{"cell_type": "markdown", "source": ["# 标题"], "outputs": []}]}
).encode()
_PAGE = (
    '<PageContents><Shapes><Shape><Text x="1">流程 starts</Text></Shape></Shapes></PageContents>'
)
_VISIO = documents.zipped({
    "visio/pages/pages.xml": '<Pages><Page Name="Plan"/></Pages>',
    "visio/pages/_rels/pages.xml.rels":
        '<Relationships><Relationship Target="page1.xml"/></Relationships>',
    "visio/pages/page1.xml": _PAGE,
    "docProps/app.xml": '<Properties xmlns:vt="v"><TitlesOfParts><vt:vector><vt:lpstr>Plan'
        "</vt:lpstr><vt:lpstr>other</vt:lpstr></vt:vector></TitlesOfParts></Properties>",
})  # fmt: skip


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_without_the_extra_the_report_says_what_to_install(
    parser: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, parser.module, None)  # type: ignore[attr-defined]
    with pytest.raises(Unreadable, match=r"pip install 'crag-owner\[longtail\]'"):
        parser.parse(b"{}")  # type: ignore[attr-defined]


@pytest.mark.skipif(not INSTALLED, reason="the extra longtail is not installed here")
@pytest.mark.parametrize(
    ("name", "data", "section"),
    [
        ("a.ipynb", _NOTEBOOK, ("# 标题", "", None)),
        ("a.conllu", "1\t你好" + "\t_" * 7 + "\t_\n", ("你好", "", None)),
        ("a.vsdx", _VISIO, ("流程 starts", "Plan", 1)),
    ],
)
def test_with_the_extra_they_are_read_in_the_sandbox(
    name: str, data: bytes | str, section: tuple[str, str, int | None]
) -> None:
    parser = parser_for(PurePath(name))
    assert parser is not None
    with ParsingSandbox() as sandbox:
        raw = data.encode() if isinstance(data, str) else data
        (found,) = sandbox.parse(parser, raw).sections
    assert section[0] in found.text
    assert Section("", found.heading, found.page) == Section("", *section[1:])
