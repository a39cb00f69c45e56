"""Enveloped XML signatures of NVIDIA's RIM documents, verified without an XML library.

RIMs use one narrow profile: one ``Signature`` as the last child of the root, a reference to the
whole document, C14N 1.1 and ECDSA P-384 with SHA-384. Anything else is refused, and the document
is read from the very events whose canonical form was hashed, so that nothing can be wrapped in.
Sources: W3C XML Signature 1.1, Canonical XML 1.1.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.parsers import expat

from crag_core.errors import AttestationRejected

MAX_DOCUMENT = 1024 * 1024
_MAX_DEPTH = 32
DSIG = "http://www.w3.org/2000/09/xmldsig#"
_C14N = "http://www.w3.org/2006/12/xml-c14n11"
_ENVELOPED = f"{DSIG}enveloped-signature"
_SHA384 = "http://www.w3.org/2001/04/xmldsig-more#sha384"
_ECDSA = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"


@dataclass
class Element:
    """An element: ``tag`` and attribute names are ``{namespace}local``.

    ``raw``, ``raw_attributes`` and ``declared`` (prefix -> namespace) are what the text has.
    """

    tag: str
    attributes: dict[str, str]
    raw: str
    raw_attributes: dict[str, str]
    declared: dict[str, str]
    scope: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    def elements(self) -> list[Element]:
        """The child elements."""
        return [child for child in self.children if isinstance(child, Element)]

    def only(self, tag: str) -> Element:
        """The one child element ``tag``.

        Raises:
            AttestationRejected: there is none, or more than one.
        """
        found = [child for child in self.elements() if child.tag == tag]
        if len(found) != 1:
            raise refused(f"it has {len(found)} elements {tag.rpartition('}')[2]}, not 1")
        return found[0]

    def text(self) -> str:
        """The text directly inside."""
        return "".join(child for child in self.children if isinstance(child, str))


@dataclass(frozen=True)
class Signed:
    """A document whose digest matches its signature's reference.

    ``root``: the document without the signature. ``info``: the canonical bytes that ``signature``
    (96 bytes, r || s) is over. ``certificates``: DER, as the signature lists them.
    """

    root: Element
    info: bytes
    signature: bytes
    certificates: Sequence[bytes]


def read_signed(document: bytes) -> Signed:
    """Parse a document and check its digest; the signature over ``info`` is the caller's to check.

    Raises:
        AttestationRejected: it is no XML of the profile, or its digest does not match.
    """
    root = _parse(document)
    last = root.children[-1] if root.children else ""
    if not isinstance(last, Element) or last.tag != f"{{{DSIG}}}Signature":
        raise refused("its last element is not its signature")
    root.children.pop()
    info = last.only(f"{{{DSIG}}}SignedInfo")
    _check_profile(info)
    reference = info.only(f"{{{DSIG}}}Reference")
    stated = _base64(reference.only(f"{{{DSIG}}}DigestValue").text())
    digest = hashlib.sha384(canonical(root)).digest()
    if not hmac.compare_digest(stated, digest):
        raise refused("its content is not what was signed")
    data = last.only(f"{{{DSIG}}}KeyInfo").only(f"{{{DSIG}}}X509Data")
    certificates = [
        _base64(child.text())
        for child in data.elements()
        if child.tag == f"{{{DSIG}}}X509Certificate"
    ]
    signature = _base64(last.only(f"{{{DSIG}}}SignatureValue").text())
    return Signed(root, canonical(info), signature, certificates)


def _check_profile(info: Element) -> None:
    reference = info.only(f"{{{DSIG}}}Reference")
    transforms = reference.only(f"{{{DSIG}}}Transforms").elements()
    found = (
        info.only(f"{{{DSIG}}}CanonicalizationMethod").attributes.get("Algorithm"),
        info.only(f"{{{DSIG}}}SignatureMethod").attributes.get("Algorithm"),
        reference.only(f"{{{DSIG}}}DigestMethod").attributes.get("Algorithm"),
        reference.attributes.get("URI"),
        [transform.attributes.get("Algorithm") for transform in transforms],
    )
    if found != (_C14N, _ECDSA, _SHA384, "", [_ENVELOPED, _C14N]):
        raise refused("its signature is of another profile than NVIDIA's RIMs use")
    if any(transform.elements() for transform in transforms):
        raise refused("its signature has a transform with parameters")


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise refused("a value in its signature is not base64") from None


def canonical(root: Element) -> bytes:
    """Canonical XML 1.1 of an element as the apex of its document subset, UTF-8."""
    parts: list[str] = []
    _write(root, parts, {}, root.scope)
    return "".join(parts).encode()


def _write(
    element: Element, parts: list[str], rendered: dict[str, str], scope: dict[str, str]
) -> None:
    spaces = {
        prefix: space
        for prefix, space in scope.items()
        if rendered.get(prefix, "" if not prefix else None) != space
    }
    parts.append(f"<{element.raw}")
    for prefix, space in sorted(spaces.items()):
        name = f"xmlns:{prefix}" if prefix else "xmlns"
        parts.append(f' {name}="{_escape_attribute(space)}"')

    def order(name: str) -> tuple[str, str]:
        prefix, _, local = name.rpartition(":")
        return (element.scope[prefix] if prefix else "", local)

    for name in sorted(element.raw_attributes, key=order):
        parts.append(f' {name}="{_escape_attribute(element.raw_attributes[name])}"')
    parts.append(">")
    inner = {**rendered, **spaces}
    for child in element.children:
        if isinstance(child, Element):
            _write(child, parts, inner, child.declared)
        else:
            parts.append(_escape_text(child))
    parts.append(f"</{element.raw}>")


def _escape_text(text: str) -> str:
    for raw, mark in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\r", "&#xD;")):
        text = text.replace(raw, mark)
    return text


def _escape_attribute(text: str) -> str:
    marks = (
        ("&", "&amp;"),
        ("<", "&lt;"),
        ('"', "&quot;"),
        ("\t", "&#x9;"),
        ("\n", "&#xA;"),
        ("\r", "&#xD;"),
    )
    for raw, mark in marks:
        text = text.replace(raw, mark)
    return text


class _Builder:
    """Collects expat's events into elements; refuses what a RIM has no use for."""

    def __init__(self) -> None:
        self.root: Element | None = None
        self.stack: list[Element] = []

    def start(self, raw: str, pairs: list[str]) -> None:
        if len(self.stack) >= _MAX_DEPTH:
            raise refused("it is nested too deeply")
        given = dict(zip(pairs[::2], pairs[1::2], strict=True))
        declared = {
            name.partition(":")[2]: value
            for name, value in given.items()
            if name == "xmlns" or name.startswith("xmlns:")
        }
        plain = {name: value for name, value in given.items() if not name.startswith("xmlns")}
        scope = {**(self.stack[-1].scope if self.stack else {}), **declared}
        if any(name.startswith("xml:") for name in plain) or "xml" in declared:
            raise refused("it uses an attribute of the XML namespace")
        element = Element(
            tag=_expand(raw, scope, attribute=False),
            attributes={_expand(name, scope, attribute=True): plain[name] for name in plain},
            raw=raw,
            raw_attributes=plain,
            declared=declared,
            scope=scope,
        )
        if len(element.attributes) != len(plain):
            raise refused("an element has an attribute twice")
        if self.stack:
            self.stack[-1].children.append(element)
        else:
            self.root = element
        self.stack.append(element)

    def end(self, _raw: str) -> None:
        self.stack.pop()

    def text(self, text: str) -> None:
        children = self.stack[-1].children
        if children and isinstance(children[-1], str):
            children[-1] += text
        else:
            children.append(text)

    def refuse(self, *_arguments: object) -> None:
        raise refused("it has a document type, comments or processing instructions")


def _expand(raw: str, scope: dict[str, str], *, attribute: bool) -> str:
    prefix, _, local = raw.rpartition(":")
    if prefix and not scope.get(prefix):
        raise refused(f"the prefix {prefix!r} is not declared")
    space = "" if attribute and not prefix else scope.get(prefix, "")
    return f"{{{space}}}{local}" if space else local


def _parse(document: bytes) -> Element:
    if len(document) > MAX_DOCUMENT:
        raise refused(f"it has {len(document)} bytes, more than {MAX_DOCUMENT}")
    builder = _Builder()
    parser = expat.ParserCreate("UTF-8")
    parser.ordered_attributes = True
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = builder.refuse
    parser.EntityDeclHandler = builder.refuse
    parser.CommentHandler = builder.refuse
    parser.ProcessingInstructionHandler = builder.refuse
    try:
        parser.Parse(document, True)
    except (expat.ExpatError, ValueError):
        raise refused("it is not well-formed XML") from None
    if builder.root is None:
        raise refused("it is empty")
    return builder.root


def refused(why: str) -> AttestationRejected:
    """The error for a RIM that cannot be used."""
    return AttestationRejected(f"The RIM is not usable: {why}.", code="rim-rejected")
