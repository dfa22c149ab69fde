"""The link check sees what a reader would stumble over, and nothing else."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(path: Path) -> ModuleType:
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


docs_links = load(ROOT / "tests" / "docs_links.py")


def write(root: Path, **pages: str) -> Path:
    """A small project: `docs__start="…"` is docs/start.md."""
    for name, text in pages.items():
        page = root / f"{name.replace('__', '/')}.md"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text)
    return root


def test_links_that_lead_somewhere_are_no_news(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        README="# A\n[start](docs/start.md#first-run) [up](#a) [web](https://example.org/no#where) ![p](docs/p.png)\n",
        docs__start="## First run\n[home](../README.md#a) [here](./) [root](/README.md) [r]\n\n[r]: start.md 'T'\n",
    )
    (root / "docs" / "p.png").touch()
    assert docs_links.broken_links(root) == []


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("docs/gone.md", "no such file"),
        ("docs/start.md#gone", "no such heading"),
        ("#gone", "no such heading"),
        ("../beside.md", "leaves the repository"),
        ("docs/st%61rt.md#gone", "no such heading"),
    ],
)
def test_a_broken_link_is_told_with_its_line(tmp_path: Path, target: str, why: str) -> None:
    (tmp_path / "beside.md").touch()
    root = write(tmp_path / "project", README=f"# A\n\n[x]({target})\n", docs__start="# B\n")
    assert docs_links.broken_links(root) == [f"README.md:3: {target}: {why}"]


@pytest.mark.parametrize("link", ['<a href="gone.md">x</a>', '<img src="gone.md">', "[x]: gone.md", "[`x`](gone.md)"])
def test_every_way_to_write_a_link_is_seen(tmp_path: Path, link: str) -> None:
    root = write(tmp_path, docs__design__0001=f"{link}\n")
    assert docs_links.broken_links(root) == ["docs/design/0001.md:1: gone.md: no such file"]


def test_code_quotes_links_and_makes_none(tmp_path: Path) -> None:
    fenced = "````markdown\n```\n[x](gone.md)\n```\n# Not a heading\n````\n"
    root = write(tmp_path, README=f"{fenced}`[x](gone.md)` ``[y](`gone.md)`` [z](#not-a-heading)\n")
    assert docs_links.broken_links(root) == ["README.md:7: #not-a-heading: no such heading"]


def test_headings_get_the_anchors_that_readers_see(tmp_path: Path) -> None:
    text = (
        "# The `dev` script: why?\n## Same\n## Same ##\n### [A link](x.md) & more\n<a id='no'></a><a id=\"own\"></a>\n"
    )
    root = write(tmp_path, README=text)
    assert docs_links.anchors(root / "README.md") == {"the-dev-script-why", "same", "same-1", "a-link--more", "own"}


def test_the_list_shows_each_page_with_its_first_line(tmp_path: Path) -> None:
    root = write(tmp_path, README="\n# entrepot\ntext\n", docs__start="", changes__README="Fragments.\n")
    rows = [row.split(maxsplit=1) for row in docs_links.listing(root).splitlines()]
    assert rows == [["README.md", "entrepot"], ["docs/start.md", "(empty)"], ["changes/README.md", "Fragments."]]
