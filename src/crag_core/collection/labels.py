"""Labels of documents as the keyed tags of their rows; the values themselves are sealed."""

from __future__ import annotations

from collections.abc import Mapping

from crag_core.collection.context import Context
from crag_core.errors import BadInput
from crag_core.tags import tag

LABEL_PREFIX = "label:"


def label_tags(context: Context, labels: Mapping[str, str]) -> list[bytes]:
    """The keyed tags that stand for ``labels`` in a row, sorted so that their order tells nothing.

    Raises:
        BadInput: a label is no text or has no UTF-8 form.
    """
    if not labels:
        return []
    key = context.tag_key
    try:
        for name, value in labels.items():
            (name + value).encode("utf-8")
    except (UnicodeEncodeError, TypeError):
        raise BadInput(
            "A label is no text, or has no UTF-8 form.", hint="Give names and values as text."
        ) from None
    return sorted(tag(key, LABEL_PREFIX + name, value) for name, value in labels.items())
