"""Links in the Markdown people read: `python3 dev check` fails when one leads nowhere.

A script of the standard library: it prints each broken link, with --list the pages too, and exits 1 if one is broken.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote

FENCE: Final = re.compile(r"\s*(`{3,}|~{3,})")
CODE_SPAN: Final = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
LINK: Final = re.compile(r"""\]\(\s*<?([^)\s>]+)|^\s{0,3}\[(?!\^)[^\]]+\]:\s+<?([^\s>]+)|\b(?:href|src)="([^"]+)\"""")
ELSEWHERE: Final = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


def pages(root: Path) -> list[Path]:
    """The Markdown people read, in the order they would."""
    named = [root / "README.md", root / "CONTRIBUTING.md"]
    return [*filter(Path.exists, named), *sorted(root.glob("docs/**/*.md")), *sorted(root.glob("changes/*.md"))]


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of a page outside its code blocks."""
    fence = ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        mark = FENCE.match(line)
        if not fence and mark is None:
            yield number, line
        elif not fence and mark is not None:
            fence = mark[1]
        elif line.strip().startswith(fence) and not line.strip(f"{fence[0]} \t"):
            fence = ""


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    """Every #anchor of a page: its headings, numbered when they repeat, and its HTML ids."""
    found: set[str] = set()
    for _, line in prose(page):
        found.update(re.findall(r'\b(?:id|name)="([^"]+)"', line))
        if heading := re.match(r" {0,3}#{1,6}\s+(.*?)(?:\s#+)?\s*$", line):
            name = first = slug(heading[1])
            repeats = 0
            while name in found:
                repeats += 1
                name = f"{first}-{repeats}"
            found.add(name)
    return found


def links(page: Path) -> Iterator[tuple[int, str]]:
    """Line and target of every link of a page that stays in this repository."""
    for number, line in prose(page):
        for target in LINK.finditer(CODE_SPAN.sub("", line)):
            words = next(filter(None, target.groups()))
            if not ELSEWHERE.match(words):
                yield number, words


def why_broken(root: Path, page: Path, target: str) -> str:
    """What is wrong with a relative link, or an empty string."""
    path, _, anchor = unquote(target).partition("#")
    path = path.partition("?")[0]
    start = root / path.lstrip("/") if path.startswith("/") else page.parent / path
    place = Path(os.path.normpath(start)) if path else page
    if not place.is_relative_to(root):
        return "leaves the repository"
    if not place.exists():
        return "no such file"
    if anchor and place.suffix == ".md" and anchor not in anchors(place):
        return "no such heading"
    return ""


def broken_links(root: Path) -> list[str]:
    """A line for each relative link or anchor in the docs that points to nothing: page:line: target: why."""
    return [
        f"{page.relative_to(root)}:{number}: {target}: {why}"
        for page in pages(root)
        for number, target in links(page)
        if (why := why_broken(root, page, target))
    ]


def listing(root: Path) -> str:
    """The pages, each with its first line."""
    rows = []
    for page in pages(root):
        first = next((line.lstrip("# ") for _, line in prose(page) if line.strip()), "(empty)")
        rows.append(f"{page.relative_to(root)!s:<40} {first}")
    return "\n".join(rows)


def main(arguments: list[str]) -> int:
    """Checks this repository's pages; 1 if a link is broken."""
    root = Path(__file__).resolve().parent.parent
    if "--list" in arguments:
        print(listing(root))
    broken = broken_links(root)
    print("\n".join(broken) or "every link holds")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
