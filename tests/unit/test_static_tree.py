"""The folder of a tree: files appear whole, once, and only where something changed."""

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot.client.static_tree import TreeFolder
from entrepot.errors import Busy, UsageError
from entrepot.model import NamedDigest


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[TreeFolder]:
    found = TreeFolder.open(str(tmp_path / "tree"))
    yield found
    found.close()


def blob(folder: TreeFolder, data: bytes) -> NamedDigest:
    """Some bytes that were fetched."""
    digest = NamedDigest.parse(f"sha256:{hashlib.sha256(data).hexdigest()}")
    Path(folder.place(f"blobs/sha256/{digest.hex}")).write_bytes(data)
    return digest


@pytest.mark.parametrize("number", [0, errno.EMLINK, errno.EXDEV, errno.EPERM])
def test_a_name_is_a_link_or_else_a_copy_and_moves_only_if_it_must(
    folder: TreeFolder, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(source: str, target: str) -> None:
        raise OSError(number, os.strerror(number))

    if number:
        monkeypatch.setattr(os, "link", refuse)
    one, two = blob(folder, b"one"), blob(folder, b"two")
    tag = Path(folder.root, "v2/a/manifests/latest")
    assert folder.link(one, "v2/a/manifests/latest")
    assert tag.read_bytes() == b"one"
    before = tag.stat()
    assert not folder.link(one, "v2/a/manifests/latest")
    assert tag.stat() == before
    assert folder.link(two, "v2/a/manifests/latest"), "the same size, other bytes"
    assert tag.read_bytes() == b"two"
    assert Path(folder.root, "blobs/sha256", one.hex).read_bytes() == b"one"
    assert sorted(os.listdir(Path(folder.root, "blobs"))) == ["sha256"]


def test_a_text_is_written_if_it_differs(folder: TreeFolder) -> None:
    assert folder.write("v2/a/tags/list", b"[]")
    assert not folder.write("v2/a/tags/list", b"[]")
    assert folder.write("v2/a/tags/list", b"[1]")
    assert folder.write("v2/a/tags/list", b"[")
    assert Path(folder.root, "v2/a/tags/list").read_bytes() == b"["


def test_a_write_that_fails_leaves_what_was_there(folder: TreeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write("index.json", b"old")

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(Exception, match="no room"):
        folder.write("index.json", b"new")
    assert Path(folder.root, "index.json").read_bytes() == b"old"
    assert os.listdir(Path(folder.root, "blobs")) == []


def test_others_go_only_from_our_folders(folder: TreeFolder, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("")
    for path in ("v2/a/manifests/old", "v2/a/tags/list", "notes/mine", "index.json"):
        folder.write(path, b"x")
    Path(folder.root, "v2/a/elsewhere").symlink_to(outside)
    assert folder.remove_others({"v2/a/tags/list"}) == 1
    assert not Path(folder.root, "v2/a/manifests").exists()
    assert Path(folder.root, "notes/mine").exists()
    assert (outside / "kept").exists()


def test_one_tree_has_one_writer(folder: TreeFolder) -> None:
    with pytest.raises(Busy):
        TreeFolder.open(folder.root)


def test_a_file_is_no_tree(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError):
        TreeFolder.open(str(tmp_path / "file"))
