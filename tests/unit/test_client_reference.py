"""What the words of a command point to."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis.strategies import text

from entrepot.client.reference import (
    BlobRef,
    LaterRef,
    ObjectRef,
    StandardStream,
    parse,
    parse_known,
    quoted_key,
)
from entrepot.errors import BadName, EntrepotError, Unsupported
from entrepot.model import Digest

HEX = "190a348f" * 8


def test_the_prefix_decides_the_kind() -> None:
    assert parse("object:files/app.sif") == ObjectRef("files", "app.sif")
    assert parse("object:phys:files/a/b") == ObjectRef("files", "a/b", "phys")
    assert parse(f"sha256:{HEX}") == BlobRef(Digest(HEX))
    assert parse("-") == StandardStream()
    assert isinstance(parse("machine:rocky9"), LaterRef)
    assert isinstance(parse("docker://alpine"), LaterRef)
    assert isinstance(parse("phys/fenics:2026.1"), LaterRef)


@pytest.mark.parametrize("words", ["phys/x:1", "machine:rocky9", "docker://alpine", "https://host/x", "x@{2026-10-01}"])
def test_what_a_later_version_does_is_refused_with_a_reason(words: str) -> None:
    with pytest.raises(Unsupported) as refused:
        parse_known(words)
    assert "not in this version yet" in refused.value.what
    assert refused.value.why


@pytest.mark.parametrize("words", ["", "/tmp/x", "./x", "object:", "object:files", "object::files/x", "object:a:b:c/x"])
def test_what_is_no_reference_is_a_bad_name(words: str) -> None:
    with pytest.raises(BadName):
        parse(words)


@given(text())
def test_any_words_are_a_reference_or_refused(words: str) -> None:
    with suppress(EntrepotError):
        assert str(parse(words))


@given(text(alphabet="abc/.%é ~?#", min_size=1))
def test_an_object_is_written_as_it_is_read(key: str) -> None:
    assert parse(f"object:p:files/{key}") == ObjectRef("files", key, "p")
    assert str(parse(f"object:p:files/{key}")) == f"object:p:files/{key}"


def test_a_slash_at_the_end_means_all_below() -> None:
    assert ObjectRef("files", "a/").is_prefix
    assert ObjectRef("files", "").is_prefix
    assert not ObjectRef("files", "a").is_prefix
    assert ObjectRef("files", "a/b/").last == "b"


def test_the_project_of_the_caller_does_not_replace_a_named_one() -> None:
    assert ObjectRef("files", "x").within("phys") == ObjectRef("files", "x", "phys")
    assert ObjectRef("files", "x", "chem").within("phys") == ObjectRef("files", "x", "chem")


def test_no_key_leaves_the_path_of_its_bucket() -> None:
    assert quoted_key("a/../b/./c d") == "a/%2E%2E/b/%2E/c%20d"
    assert quoted_key("...") == "..."
    assert ObjectRef("files", "/x?y#z%", "phys").path == "phys:files//x%3Fy%23z%25"
