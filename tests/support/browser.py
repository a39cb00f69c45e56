"""A page as a real browser lays it out: Chromium without a window, off the network."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SECONDS = 60

# The page is shown in a frame of a page of our own, because it forbids scripts of its own.
_FRAME = """<!doctype html><meta charset="utf-8">
<iframe id="shown" src="{page}" style="border:0;width:{width}px;height:900px"></iframe>
<pre id="measured"></pre>
<script>
function box(each) {{
  const b = each.getBoundingClientRect();
  return [b.left, b.top, b.right, b.bottom];
}}
document.getElementById("shown").addEventListener("load", event => {{
  const page = event.target.contentDocument, root = page.documentElement;
  const colours = getComputedStyle(page.body);
  document.getElementById("measured").textContent = JSON.stringify({{
    title: page.title,
    text: page.body.innerText,
    width: root.clientWidth,
    wide: root.scrollWidth,
    ink: colours.color,
    paper: colours.backgroundColor,
    plots: [...page.querySelectorAll("svg")].map(plot => ({{
      box: box(plot),
      labels: [...plot.querySelectorAll("text")].map(each => [each.textContent, box(each)]),
    }})),
  }});
}});
</script>"""


@dataclass(frozen=True)
class Laid:
    """What a browser made of a page, and what it complained of."""

    measured: dict[str, Any]
    complaints: list[str]

    @property
    def contrast(self) -> float:
        """Of text and background, by WCAG 2.2: 1 to 21."""
        light, dark = sorted(
            (_luminance(self.measured["ink"]), _luminance(self.measured["paper"])), reverse=True
        )
        return (light + 0.05) / (dark + 0.05)


def lay_out(page: Path, folder: Path, *, width: int, dark: bool) -> Laid:
    """Open a page in a window of ``width`` pixels, for eyes that want it light or dark."""
    assert CHROMIUM is not None
    frame = folder / f"frame-{width}-{dark}.html"
    frame.write_text(_FRAME.format(page=page.as_uri(), width=width), encoding="utf-8")
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--allow-file-access-from-files",
            "--enable-logging=stderr",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            f"--user-data-dir={folder / 'browser'}",
            f"--window-size={width + 100},1000",
            "--dump-dom",
            frame.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    found = re.search(r'<pre id="measured">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None and found[1], done.stderr
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Laid(json.loads(html.unescape(found[1])), complaints)


def _luminance(colour: str) -> float:
    channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
