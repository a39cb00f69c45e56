"""What the demo tells the person who watches it."""

from __future__ import annotations

import textwrap
from typing import Any, TextIO

WIDTH = 100


class Narrator:
    """Writes the story, step by step, to one stream."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.number = 0

    def say(self, text: str = "") -> None:
        """One line or paragraph."""
        self.stream.write(text + "\n")
        self.stream.flush()

    def step(self, party: str, text: str) -> None:
        """A numbered step of one party."""
        self.number += 1
        head = f"{self.number:>2}  {party:<9} "
        self.say(textwrap.fill(text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head)))

    def detail(self, text: str) -> None:
        """A line below a step."""
        self.say(textwrap.fill(text, WIDTH, initial_indent=" " * 14, subsequent_indent=" " * 16))

    def opening(self) -> None:
        """What will be seen, and what is not real."""
        self.say("crag demo: a data owner, a provider and an end user, who don't trust each other,")
        self.say("on this one machine. Everything on the way is the real thing: PostgreSQL with")
        self.say("pgvector, three Trustees, an encrypted model, llama.cpp, the TNG gateways.")
        self.say("Only the silicon is missing: the evidence is made by software (tee: sample). It")
        self.say(
            "shows WHAT is checked, but proves nothing about this machine: whoever is root here"
        )
        self.say("could forge it. Every command that accepts it was told so by an 'insecure' flag.")
        self.say()

    def closing(self, answer: dict[str, Any], kept: bool) -> None:
        """Question, answer, citations, what was verified, and how to go on."""
        self.say()
        self.say(f"Question  {answer['question']}")
        how = (
            ""
            if answer.get("mode") == "model"
            else "  (quoted: the model's own answer had no support)"
        )
        self.say(f"Answer    {answer['answer']}{how}")
        self.say()
        for citation in answer["citations"]:
            self.say(f"  [{citation['n']}] {citation['source']}")
            quoted = textwrap.shorten(" ".join(citation["text"].split()), 240)
            self.say(textwrap.indent(textwrap.fill(f"“{quoted}”", WIDTH - 6), " " * 6))
        self.say()
        self.say("What was verified before the question left")
        for check in answer["attestation"]["checks"]:
            self.say(f"  {'ok  ' if check['ok'] else 'FAIL'}  {check['name']}: {check['detail']}")
        self.say()
        self.say(
            "The evidence was made by software; on hardware the same checks run on a TDX quote."
        )
        self._go_on(answer, kept)

    def _go_on(self, answer: dict[str, Any], kept: bool) -> None:
        self.say()
        if kept:
            self.say(f"The services stay up. The service: {answer['url']}")
            self.say("Ask through the user's gateway, which reaches nothing else:")
            self.say(f"  curl -x {answer['proxy']} {answer['url']}/rag/query \\")
            self.say("       -H 'content-type: application/json' \\")
            self.say('       -d \'{"question": "Who is the manager of the Alta branch?"}\'')
            self.say(f"  curl -x {answer['proxy']} http://example.com/    # refused")
            self.say("End them with: make demo ARGS=--stop")
        else:
            self.say("Everything is stopped and removed. To go on by hand:")
            self.say("  make demo ARGS=--keep          leave the services up and try them")
            self.say("  docs/quickstart-owner.md       encrypt your own documents")
            self.say("  docs/quickstart-provider.md    serve them from an enclave")
            self.say("  docs/quickstart-user.md        verify and ask")
