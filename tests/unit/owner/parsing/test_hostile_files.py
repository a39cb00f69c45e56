"""Files made to harm a parser: bombs, lies, loops, damage. Each costs itself only."""

from __future__ import annotations

import io
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crag_owner.parsing import Parser, Unreadable, parser_for
from crag_owner.parsing.archive import ArchiveLimits, open_archive
from crag_owner.parsing.registry import PARSERS
from crag_owner.parsing.sandbox import ParsingSandbox, SandboxLimits
from support import documents

MIB = 1024 * 1024
OFFICE = {
    "docx": documents.docx([("Heading 1", "Title"), ("Normal", "Text of it.")]),
    "pptx": documents.pptx([("Title", "Text of it.", "Notes")]),
    "xlsx": documents.xlsx({"Sheet": [["a", "b"], ["c", "d"]]}),
    "epub": documents.epub("Book", ["<h1>One</h1><p>Text of it.</p>"]),
}
MAIN_PART = {
    "docx": "word/document.xml",
    "pptx": "ppt/presentation.xml",
    "xlsx": "xl/workbook.xml",
    "epub": "OEBPS/content.opf",
}
SEEDS = {
    **OFFICE,
    "pdf": documents.pdf(["First page", "第二页"], outline={1: "One"}),
    "eml": documents.eml("S", "text", html="<p>x</p>", attachments={"a.docx": OFFICE["docx"]}),
    "html": b"<meta charset=gb2312><h1>a<table><td>b</h1></table><p style=x>c<pre>d",
    "json": b'{"a": [1, {"b": "c"}], "d": null}',
    "csv": b'a,b\n"c\nd",e\n',
    "rst": b"===\nA\n===\n\nB\n-\ntext\n",
    "md": b"# a\n```\nb\n```\nc\n---\n",
    "py": b"# x\ndef a():\n  pass\n",
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[ParsingSandbox]:
    with ParsingSandbox(SandboxLimits(seconds=30, memory=512 * MIB)) as made:
        yield made


def _parser(suffix: str) -> Parser:
    found = parser_for(PurePath(f"x.{suffix}"))
    assert found is not None
    return found


def _tried(sandbox: ParsingSandbox, parser: Parser, data: bytes) -> str:
    """The text, or the reason why there is none; a crash or a missing module is neither."""
    try:
        document = sandbox.parse(parser, data)
    except Unreadable as refused:
        reason = refused.reason
    else:
        text = "\n".join(section.text for section in document.sections)
        assert text.strip()
        return text
    assert reason
    assert "crashed" not in reason
    assert "Import" not in reason
    assert "ModuleNotFound" not in reason
    return reason


def _reason(sandbox: ParsingSandbox, suffix: str, data: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        sandbox.parse(_parser(suffix), data)
    assert sandbox.parse(_parser("txt"), b"next").sections[0].text == "next"
    return caught.value.reason


@pytest.mark.parametrize("suffix", OFFICE)
def test_a_zip_bomb_is_refused_before_it_unpacks(sandbox: ParsingSandbox, suffix: str) -> None:
    bomb = documents.replaced(OFFICE[suffix], "bomb.bin", bytes(600 * MIB))
    assert len(bomb) < MIB
    begun = time.monotonic()
    assert "zip bomb" in _reason(sandbox, suffix, bomb)
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("suffix", OFFICE)
def test_a_smaller_bomb_is_known_by_its_ratio(sandbox: ParsingSandbox, suffix: str) -> None:
    bomb = documents.replaced(OFFICE[suffix], "bomb.bin", bytes(100 * MIB))
    assert "times its size" in _reason(sandbox, suffix, bomb)


def test_a_bomb_that_lies_about_its_size_is_damaged(sandbox: ParsingSandbox) -> None:
    bomb = documents.replaced(OFFICE["docx"], "word/document.xml", bytes(100 * MIB))
    honest, lie = struct.pack("<I", 100 * MIB), struct.pack("<I", 1000)
    assert honest in bomb
    assert "damaged" in _reason(sandbox, "docx", bomb.replace(honest, lie))


def test_entries_that_share_their_bytes_are_a_bomb() -> None:
    """The overlap of "A better zip bomb" (Fifield 2019): many names for one local entry."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.xml", bytes(range(256)) * 4000)
        first = archive.infolist()[0]
        for number in range(50):
            other = zipfile.ZipInfo(f"{number}.xml")
            for name in ("header_offset", "compress_size", "file_size", "CRC", "compress_type"):
                setattr(other, name, getattr(first, name))
            archive.filelist.append(other)
    with pytest.raises(Unreadable, match="overlap"):
        open_archive(buffer.getvalue(), "Word")


def test_too_many_parts_are_a_bomb() -> None:
    data = documents.zipped({f"{number}": "" for number in range(20)})
    open_archive(data, "Word", ArchiveLimits(entries=20))
    with pytest.raises(Unreadable, match="more than 19 parts"):
        open_archive(data, "Word", ArchiveLimits(entries=19))


_LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
ENTITIES = {
    "laughs": f'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY l0 "ha">{_LAUGHS}]><d>&l11;</d>',
    "file": '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><d>&x;</d>',
    "parameter": '<!DOCTYPE d [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x">%x;]><d/>',
}


@pytest.mark.parametrize("attack", ENTITIES)
@pytest.mark.parametrize("suffix", OFFICE)
@pytest.mark.parametrize("codec", ["utf-8", "utf-16"])
def test_an_xml_bomb_is_refused(
    sandbox: ParsingSandbox, suffix: str, attack: str, codec: str
) -> None:
    bomb = documents.replaced(OFFICE[suffix], MAIN_PART[suffix], ENTITIES[attack].encode(codec))
    assert "declares XML entities" in _reason(sandbox, suffix, bomb)


def test_entities_in_pages_of_a_book_stay_what_they_are(sandbox: ParsingSandbox) -> None:
    page = ENTITIES["file"].replace("<d>", "<p>before ").replace("</d>", " after</p>")
    data = documents.replaced(OFFICE["epub"], "OEBPS/text/c 0.xhtml", page.encode())
    text = "".join(section.text for section in sandbox.parse(_parser("epub"), data).sections)
    assert "root" not in text
    assert "before" in text


def _pdf(objects: list[bytes]) -> bytes:
    """A PDF of these objects, numbered from 1; the first is the catalog."""
    out, offsets = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    return (
        out
        + head
        + table
        + (
            b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
            % (len(objects) + 1, len(out))
        )
    )


def test_a_pdf_of_a_million_pages_is_refused(sandbox: ParsingSandbox) -> None:
    """One page, referred to a million times."""
    kids = b"3 0 R " * 1_000_000
    data = _pdf([
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count 1000000 /Kids [" + kids + b"] >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>",
    ])  # fmt: skip
    reason = _reason(sandbox, "pdf", data)
    assert reason.startswith(("is a damaged PDF", "has more than", "takes more than", "needs more"))


def test_a_pdf_whose_page_tree_bites_its_tail_is_refused(sandbox: ParsingSandbox) -> None:
    data = _pdf([
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count 1 /Kids [2 0 R] >>",
    ])  # fmt: skip
    reason = _reason(sandbox, "pdf", data)
    assert reason.startswith(("is a damaged PDF", "is nested too deeply", "holds no text"))


def test_a_pdf_whose_stream_unpacks_without_end_is_refused(sandbox: ParsingSandbox) -> None:
    stream = zlib.compress(zlib.compress(b"(x) Tj " * (60 * MIB)))
    data = _pdf([
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R >>",
        b"<< /Filter [/FlateDecode /FlateDecode] /Length %d >>\nstream\n" % len(stream)
        + stream + b"\nendstream",
    ])  # fmt: skip
    assert len(data) < MIB
    _reason(sandbox, "pdf", data)


def test_a_sheet_that_claims_every_cell_is_read_by_its_rows(sandbox: ParsingSandbox) -> None:
    with zipfile.ZipFile(io.BytesIO(OFFICE["xlsx"])) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml")
    lie = sheet.replace(b'ref="A1:B2"', b'ref="A1:XFD1048576"')
    assert lie != sheet
    data = documents.replaced(OFFICE["xlsx"], "xl/worksheets/sheet1.xml", lie)
    begun = time.monotonic()
    assert sandbox.parse(_parser("xlsx"), data).sections[0].text == "a | b\na: c; b: d"
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        ("html", b"<div>" * 500_000 + b"x"),
        ("html", b"<p " + b"a=b " * 500_000 + b">x"),
        ("html", b"<" * 2 * MIB),
        ("eml", b"Subject: x\n" + b"Content-Type: multipart/mixed; boundary=a\n\n--a\n" * 20_000),
        ("eml", b"Subject: =?utf-8?q?" + b"=41" * 300_000 + b"?=\n\nx"),
        ("eml", b"From: " + b"(" * 500_000 + b"\n\nx"),
        ("csv", b'"' * 2 * MIB),
        ("rst", b"=" * MIB + b"\n" + b"-" * MIB),
        ("py", b"export " * 150_000 + b"x"),
        ("json", b'{"a":' * 100_000),
        ("docx", documents.replaced(
            OFFICE["docx"], "word/document.xml",
            b'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
            b"<w:body>" + b"<w:p>" * 200_000 + b"</w:p>" * 200_000 + b"</w:body></w:document>",
        )),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_deep_and_long_structures_end_in_time(
    sandbox: ParsingSandbox, suffix: str, data: bytes
) -> None:
    begun = time.monotonic()
    _tried(sandbox, _parser(suffix), data)
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=400))
def test_random_bytes_are_read_or_refused_with_a_reason(
    sandbox: ParsingSandbox, parser: Parser, data: bytes
) -> None:
    _tried(sandbox, parser, data)


@pytest.mark.parametrize("suffix", SEEDS)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.floats(0, 1), cut=st.integers(0, 40), put=st.binary(max_size=40))
def test_damaged_documents_are_read_or_refused_with_a_reason(
    sandbox: ParsingSandbox, suffix: str, place: float, cut: int, put: bytes
) -> None:
    seed = SEEDS[suffix]
    at = int(place * len(seed))
    data = seed[:at] + put + seed[at + cut :]
    _tried(sandbox, _parser(suffix), data)


@pytest.mark.parametrize("suffix", OFFICE)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.floats(0, 1), cut=st.integers(0, 60), put=st.binary(max_size=20))
def test_office_files_with_damaged_parts_are_read_or_refused(
    sandbox: ParsingSandbox, suffix: str, place: float, cut: int, put: bytes
) -> None:
    with zipfile.ZipFile(io.BytesIO(OFFICE[suffix])) as archive:
        part = archive.read(MAIN_PART[suffix])
    at = int(place * len(part))
    data = documents.replaced(OFFICE[suffix], MAIN_PART[suffix], part[:at] + put + part[at + cut :])
    _tried(sandbox, _parser(suffix), data)


@pytest.mark.parametrize("name", documents.folder())
def test_whole_documents_are_read_in_the_sandbox_as_outside(
    sandbox: ParsingSandbox, name: str
) -> None:
    """No library imports, opens or starts anything that the sandbox refuses."""
    parser, data = parser_for(PurePath(name)), documents.folder()[name]
    assert parser is not None
    inside, outside = sandbox.parse(parser, data), parser.parse(data)
    assert list(inside.sections) == [each for each in outside.sections if each.text.strip()]
    assert inside.metadata == outside.metadata
