"""Where a tree of files has each file, by a template and by what the labels of an image say."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from entrepot.formats.image_manifest import REVISION, SOURCE
from entrepot.services.views import DEFAULT_TEMPLATE, _source, storage_folder

HASH = "ab" * 32
SEED = "{host}/{user}/{repo}/{commit}/{hash}"
COMMIT = "130504089d5b2b44e2788992d0de75b625da6796"
BASE = {"name": "vanessa/greeting", "tag": "latest", "hash": HASH}


def folder(template: str, **labels: str) -> str:
    names = {"source": SOURCE, "revision": REVISION}
    return storage_folder(template, {**BASE, **_source({names[key]: value for key, value in labels.items()})})


def test_the_seeds_standard_gives_the_seeds_path() -> None:
    for source in (
        "https://github.com/vsoch/singularity-images", "https://github.com/vsoch/singularity-images.git",
        "https://github.com/vsoch/singularity-images/", "git://github.com/vsoch/singularity-images.git/",
        "https://user:secret@GitHub.com:443/vsoch/singularity-images?x=1#y",
    ):  # fmt: skip
        found = folder(SEED, source=source, revision=COMMIT)
        assert found == f"github.com/vsoch/singularity-images/{COMMIT}/{HASH}", source


@pytest.mark.parametrize(
    ("source", "revision"),
    [
        ("", COMMIT), ("https://github.com/vsoch/x", ""), ("https://github.com", COMMIT),
        ("https://github.com/a", COMMIT),
        ("nonsense", COMMIT), ("https://[::1", COMMIT), ("https://github.com/../x", COMMIT),
        ("https://github.com/./x", COMMIT),
        ("https://github.com/a/..", COMMIT), ("https://github.com/a/b", ".."), ("https://github.com/a/.git", COMMIT),
        ("https:///a/b", COMMIT),
    ],
)  # fmt: skip
def test_what_is_missing_is_the_default(source: str, revision: str) -> None:
    assert folder(SEED, source=source, revision=revision) == f"vanessa/greeting/{HASH}"


def test_what_is_not_plain_becomes_an_underscore() -> None:
    found = folder("{host}/{user}/{repo}/{commit}/{hash}", source="https://h.example/a b/c%2Fd", revision="x/../y")
    assert found == f"h.example/a_b/c_2Fd/x_.._y/{HASH}"


def test_a_tag_and_a_name_can_be_folders() -> None:
    assert folder("{name}/{tag}/{hash}") == f"vanessa/greeting/latest/{HASH}"
    assert storage_folder("{tag}/{hash}", {**BASE, "tag": ""}) == f"vanessa/greeting/{HASH}"


TEXTS = st.text(max_size=30)


@given(st.sampled_from([DEFAULT_TEMPLATE, SEED, "{name}/{tag}/{commit}/{hash}", "x/{host}{user}/{hash}"]), TEXTS, TEXTS)
@example(SEED, "https://../../etc/passwd", "..")
@example(SEED, "https://a/\0/b", "\n")
@example("x/{host}{user}/{hash}", "https://./.", "")
def test_no_label_leaves_the_tree_or_is_no_folder(template: str, source: str, revision: str) -> None:
    found = folder(template, source=source, revision=revision)
    assert HASH in found
    for part in found.split("/"):
        assert re.fullmatch(r"[A-Za-z0-9._-]+", part)
        assert part not in (".", "..")


@given(TEXTS, TEXTS, st.text("./ab", max_size=12))
def test_a_source_of_any_text_gives_a_safe_folder(user: str, repo: str, path: str) -> None:
    found = folder(SEED, source=f"https://host.example/{user}/{repo}/{path}", revision=COMMIT)
    assert not {"", ".", ".."} & set(found.split("/"))
