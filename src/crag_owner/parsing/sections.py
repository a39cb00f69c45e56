"""Lines to sections, under the heading that is in force."""

from __future__ import annotations

from crag_owner.parsing.interface import Section

_MAX_HEADING = 200


class SectionBuilder:
    """Collects lines below headings; ``done`` is what is complete.

    ``title`` stands before every path of headings: the subject of a mail, the title of a book.
    """

    def __init__(self, title: str = "", page: int | None = None) -> None:
        self.done: list[Section] = []
        self._title = title
        self._page = page
        self._path: list[tuple[int, str]] = []
        self._lines: list[str] = []
        self._body = 0

    def line(self, text: str, *, body: bool = True) -> None:
        """Take a line; ``body`` says that it is more than a heading."""
        self._lines.append(text)
        self._body += body and bool(text.strip())

    def blank(self) -> None:
        """An empty line, unless the last one is empty."""
        if self._lines and self._lines[-1]:
            self._lines.append("")

    def take_back(self) -> str:
        """Give back the last line, which was body."""
        self._body -= 1
        return self._lines.pop()

    def heading(self, level: int, title: str) -> None:
        """Close the section and open the next; a heading with no text below it joins the next."""
        if self._body:
            self.flush()
        while self._path and self._path[-1][0] >= level:
            self._path.pop()
        if title:
            self._path.append((level, title[:_MAX_HEADING]))

    def flush(self) -> None:
        """Close the section at hand."""
        text = "\n".join(self._lines).strip("\n")
        if text.strip():
            path = [self._title, *(title for _, title in self._path)]
            self.done.append(Section(text, " > ".join(filter(None, path)), self._page))
        self._lines, self._body = [], 0
