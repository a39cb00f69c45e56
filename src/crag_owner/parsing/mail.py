"""Mail (RFC 5322 and MIME): headers that name it, its text, and what is attached.

An attachment whose format is known is parsed too, below the mail's subject and its own name.
"""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import PurePath

from crag_owner.parsing.encoding import decode_as
from crag_owner.parsing.html import split_html, to_text
from crag_owner.parsing.interface import ParsedDocument, Section, Unreadable

_HEADERS = ("From", "To", "Cc", "Date", "Subject")
_MAX_HEADER = 2000
_MAX_DEPTH = 4
_MAX_PARTS = 500


class MailParser:
    """``.eml``, and ``.mht`` pages, which are mails to nobody."""

    name = "eml/2"
    suffixes = (".eml", ".mht", ".mhtml")
    modules = (
        "crag_owner.parsing.registry", "lxml.etree", "email.*",
        "pypdf.*", "docx.*", "pptx.*", "openpyxl.*",
        "cryptography.hazmat.primitives.ciphers.algorithms",
    )  # fmt: skip

    def parse(self, data: bytes) -> ParsedDocument:
        """Headers and body first, then attachments in order.

        Raises:
            Unreadable: no mail, or no text in it.
        """
        message = _message(data)
        subject = _header(message, "Subject")
        sections = list(_sections(message, subject, 0))
        return ParsedDocument(sections, {"title": subject} if subject else {})


def _message(data: bytes) -> EmailMessage:
    policy = email.policy.default
    try:
        message = email.message_from_bytes(data, policy=policy)
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # noqa: BLE001 - the standard library's own parser raises many kinds
        raise Unreadable(f"is no mail ({type(error).__name__})") from None
    if not isinstance(message, EmailMessage) or not any(message.keys()):
        raise Unreadable("is no mail: it has no headers")
    return message


def _header(message: EmailMessage, name: str) -> str:
    """A header in readable form; one that breaks the rules is left out."""
    try:
        return " ".join(str(message.get(name, "")).split())[:_MAX_HEADER]
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - see _message
        return ""


def _sections(message: EmailMessage, path: str, depth: int) -> Iterator[Section]:
    if depth >= _MAX_DEPTH:
        raise Unreadable("is nested too deeply")
    head = [f"{name}: {value}" for name in _HEADERS if (value := _header(message, name))]
    texts, pages, attached = _parts(message)
    body = "\n\n".join(text for text in texts if text.strip())
    if body or not pages:
        yield Section("\n".join([*head, "", body]).strip("\n"), path)
    else:
        yield Section("\n".join(head), path)
        for page in pages:
            yield from split_html(page, path)
    for name, part in attached:
        yield from _attachment(name, part, path, depth)


def _parts(
    message: EmailMessage,
) -> tuple[list[str], list[str], list[tuple[str, EmailMessage]]]:
    """Plain texts, HTML pages, and named attachments of one message."""
    texts, pages, attached = [], [], []
    for number, part in enumerate(_walk(message)):
        if number >= _MAX_PARTS:
            raise Unreadable(f"has more than {_MAX_PARTS} parts")
        kind = part.get_content_type()
        name = part.get_filename() or ""
        if kind == "message/rfc822":
            attached.append((name or "message.eml", part))
        elif name or part.get_content_disposition() == "attachment":
            attached.append((name, part))
        elif kind == "text/plain":
            texts.append(_decoded(part))
        elif kind == "text/html":
            pages.append(_decoded(part))
    return texts, pages, attached


def _walk(message: EmailMessage) -> Iterator[EmailMessage]:
    """All leaves of a message, attached messages unopened; without recursion."""
    waiting = [message]
    while waiting:
        part = waiting.pop()
        if part.is_multipart() and part.get_content_type() != "message/rfc822":
            waiting.extend(reversed([p for p in part.iter_parts() if isinstance(p, EmailMessage)]))
        else:
            yield part


def _payload(part: EmailMessage) -> bytes:
    found = part.get_payload(decode=True)
    return found if isinstance(found, bytes) else b""


def _decoded(part: EmailMessage) -> str:
    data = _payload(part)
    charset = part.get_content_charset()
    if not data.strip():
        return ""
    if charset:
        return decode_as(data, charset)
    return to_text(data)


def _attachment(name: str, part: EmailMessage, path: str, depth: int) -> Iterator[Section]:
    from crag_owner.parsing.registry import parser_for

    below = " > ".join(filter(None, (path, name)))
    if part.get_content_type() == "message/rfc822":
        inner = part.get_payload()
        if isinstance(inner, list) and inner and isinstance(inner[0], EmailMessage):
            subject = _header(inner[0], "Subject")
            yield from _sections(inner[0], " > ".join(filter(None, (path, subject))), depth + 1)
        return
    data = _payload(part)
    parser = parser_for(PurePath(name))
    if parser is None or not data:
        return
    if isinstance(parser, MailParser):
        yield from _sections(_message(data), below, depth + 1)
        return
    try:
        document = parser.parse(data)
    except Unreadable as refused:
        raise Unreadable(f"has an attachment that {refused.reason}") from None
    for section in document.sections:
        heading = " > ".join(filter(None, (below, section.heading)))
        yield Section(section.text, heading, section.page)
