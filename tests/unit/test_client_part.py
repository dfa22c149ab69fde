"""Downloaded bytes: in order, hashed, and under their name only when they are right."""

import hashlib
import os
from pathlib import Path

import pytest

from entrepot.client.folders import file_name, refuse_collisions, walk
from entrepot.client.part import PartFile
from entrepot.client.pull import Found, check
from entrepot.client.reference import ObjectRef
from entrepot.errors import Busy, DigestMismatch, Refused, UsageError

DIGEST = f"sha256:{hashlib.sha256(b'hello').hexdigest()}"


def found(key: str = "x") -> Found:
    return Found(ObjectRef("files", key), DIGEST, 5)


def test_a_part_continues_and_appears_under_its_name(tmp_path: Path) -> None:
    target = tmp_path / "x"
    (tmp_path / "x.part").write_bytes(b"hel")
    part = PartFile.open(str(target))
    assert part.resume(5, lambda _: None) == 3
    part.write(b"lo")
    check(found(), part)
    assert not target.exists()
    part.appear()
    part.close()
    assert target.read_bytes() == b"hello"
    assert not (tmp_path / "x.part").exists()


def test_a_part_that_is_too_long_begins_again(tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(b"something longer")
    part = PartFile.open(str(tmp_path / "x"))
    assert part.resume(5, lambda _: None) == 0
    part.write(b"hello")
    check(found(), part)
    part.close()


def test_wrong_bytes_are_refused(tmp_path: Path) -> None:
    part = PartFile.open(str(tmp_path / "x"))
    part.write(b"HELLO")
    with pytest.raises(DigestMismatch):
        check(found(), part)
    part.close()


def test_two_pulls_of_one_file_exclude_each_other(tmp_path: Path) -> None:
    part = PartFile.open(str(tmp_path / "x"))
    with pytest.raises(Busy):
        PartFile.open(str(tmp_path / "x"))
    part.close()
    PartFile.open(str(tmp_path / "x")).close()


def test_a_part_is_never_a_link(tmp_path: Path) -> None:
    (tmp_path / "x.part").symlink_to(tmp_path / "victim")
    with pytest.raises(UsageError):
        PartFile.open(str(tmp_path / "x"))
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("key", ["p/../x", "p/./x", "p//x", "p/a/", "p/a\0b", "p//"])
def test_no_key_becomes_a_file_outside_its_folder(key: str) -> None:
    with pytest.raises(Refused):
        file_name(ObjectRef("files", "p/"), found(key))


def test_a_key_below_a_prefix_keeps_the_rest_of_its_name() -> None:
    assert file_name(ObjectRef("files", "p/"), found("p/a/b..c")) == "a/b..c"


@pytest.mark.parametrize("names", [["a", "a/b"], ["a", "a.part"], ["a/b/c", "a"]])
def test_files_that_exclude_each_other_are_refused(names: list[str]) -> None:
    with pytest.raises(Refused):
        refuse_collisions(names)


def test_a_slash_at_the_end_means_what_is_inside(tmp_path: Path) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "e" / "f").write_bytes(b"1")
    (tmp_path / "d" / "a").symlink_to(tmp_path / "d" / "e" / "f")
    assert [entry.key for entry in walk(f"{tmp_path}/d/")] == ["a", "e/f"]
    assert [entry.key for entry in walk(f"{tmp_path}/d")] == ["d/a", "d/e/f"]


def test_what_is_no_file_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="pipe"):
        list(walk(f"{tmp_path}/"))
