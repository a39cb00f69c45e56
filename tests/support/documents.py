"""One document of every format, written by the real libraries."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from email.policy import SMTP

_CONTAINER = (
    '<?xml version="1.0"?><container version="1.0" '
    'xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="OEBPS/content.opf" media-type="application/oebps-package+xml"/>'
    "</rootfiles></container>"
)


def pdf(
    pages: Sequence[str],
    *,
    outline: Mapping[int, str] | None = None,
    title: str = "",
    password: str = "",
) -> bytes:
    """Pages of text, Chinese in a font that every viewer has; ``outline`` counts pages from 1."""
    from reportlab.lib.pdfencrypt import StandardEncryption
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfgen.canvas import Canvas

    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    buffer = io.BytesIO()
    encrypt = StandardEncryption(password) if password else None
    canvas = Canvas(buffer, encrypt=encrypt)
    canvas.setTitle(title)
    for number, text in enumerate(pages, 1):
        if outline and number in outline:
            canvas.bookmarkPage(f"p{number}")
            canvas.addOutlineEntry(outline[number], f"p{number}", level=0)
        wide = any(ord(c) > 0x2E80 for c in text)
        canvas.setFont("STSong-Light" if wide else "Helvetica", 12)
        for row, line in enumerate(text.split("\n")):
            canvas.drawString(72, 760 - 16 * row, line)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def docx(blocks: Sequence[tuple[str, str]], *, title: str = "") -> bytes:
    """Paragraphs as (style, text)."""
    import docx as library

    document = library.Document()
    document.core_properties.title = title
    for style, text in blocks:
        document.add_paragraph(text, style=style)
    return saved(document)


def pptx(slides: Sequence[tuple[str, str, str]]) -> bytes:
    """Slides as (title, body, notes)."""
    import pptx as library

    presentation = library.Presentation()
    for title, body, notes in slides:
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = body
        if notes:
            slide.notes_slide.notes_text_frame.text = notes
    return saved(presentation)


def xlsx(sheets: Mapping[str, Sequence[Sequence[object]]]) -> bytes:
    """Sheets of rows, in order."""
    import openpyxl

    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    return saved(book)


def saved(document: object) -> bytes:
    """The bytes of anything with ``save(stream)``."""
    buffer = io.BytesIO()
    document.save(buffer)  # type: ignore[attr-defined]
    return buffer.getvalue()


def epub(title: str, chapters: Sequence[str], *, extra: Mapping[str, str] | None = None) -> bytes:
    """An EPUB 3 of XHTML bodies."""
    items = "".join(
        f'<item id="c{n}" href="text/c%20{n}.xhtml" media-type="application/xhtml+xml"/>'
        for n in range(len(chapters))
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters)))
    package = (
        '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0">'
        '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<dc:title>{title}</dc:title></metadata>"
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>"
    )
    parts = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": _CONTAINER,
        "OEBPS/content.opf": package,
    }
    for number, body in enumerate(chapters):
        parts[f"OEBPS/text/c {number}.xhtml"] = (
            '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html>'
            '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>x</title></head>'
            f"<body>{body}</body></html>"
        )
    return zipped(parts | dict(extra or {}))


def zipped(parts: Mapping[str, str | bytes]) -> bytes:
    """A deflated zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def replaced(archive: bytes, name: str, data: bytes) -> bytes:
    """The same archive with one entry changed or added."""
    with zipfile.ZipFile(io.BytesIO(archive)) as old:
        parts: dict[str, str | bytes] = {each: old.read(each) for each in old.namelist()}
    return zipped(parts | {name: data})


def eml(
    subject: str, text: str, *, html: str = "", attachments: Mapping[str, bytes] | None = None
) -> bytes:
    """A mail, its subject in RFC 2047 where it must be."""
    message = EmailMessage(policy=SMTP)
    message["From"] = "Ada <ada@example.com>"
    message["To"] = "bob@example.com"
    message["Subject"] = subject
    message["Date"] = "Sat, 21 Nov 2026 08:00:00 +0000"
    if text:
        message.set_content(text)
    if html:
        (message.add_alternative if text else message.set_content)(html, subtype="html")
    for name, data in (attachments or {}).items():
        message.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    return message.as_bytes()


def folder() -> dict[str, bytes]:
    """A file of every format, by name; each says ``<format> knows that <format> is <number>``."""

    def says(what: str) -> str:
        return f"The {what} file knows that the code of the {what} vault is {len(what)}42."

    return {
        "a.txt": says("text").encode(),
        "b.md": f"# Vaults\n\n{says('markdown')}\n".encode(),
        "c.rst": f"Vaults\n======\n\n{says('rst')}\n".encode(),
        "d.html": f"<html><body><h1>Vaults</h1><p>{says('html')}</p></body></html>".encode(),
        "e.pdf": pdf(["Contents", says("pdf")]),
        "f.docx": docx([("Heading 1", "Vaults"), ("Normal", says("docx"))]),
        "g.pptx": pptx([("Contents", "None", ""), ("Vaults", says("pptx"), "")]),
        "h.xlsx": xlsx({"Empty": [], "Vaults": [["name", "fact"], ["x", says("xlsx")]]}),
        "i.csv": f'name,fact\nx,"{says("csv")}"\n'.encode(),
        "j.tsv": f"name\tfact\nx\t{says('tsv')}\n".encode(),
        "k.json": json.dumps({"vaults": [{"fact": says("json")}]}).encode(),
        "l.jsonl": (json.dumps({"fact": says("jsonl")}) + "\n").encode(),
        "m.eml": eml("Vaults", says("eml")),
        "n.epub": epub("Book", [f"<h1>Vaults</h1><p>{says('epub')}</p>"]),
        "o.py": f'def vault():\n    """{says("python")}"""\n'.encode(),
        "p.txt": "企业数字化转型面临的主要挑战是数据孤岛和人才不足。".encode("gb18030"),
        "q.txt": "企業數位轉型面臨的主要挑戰是資料孤島和人才不足。".encode("cp950"),
        "r.txt": "企业数字化转型面临的主要挑战是数据孤岛。\n".encode("utf-16"),
    }
