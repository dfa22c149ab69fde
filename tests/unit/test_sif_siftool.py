"""SIF headers, read beside siftool: what it makes and what these tests make, both as it reads them."""

import re
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from entrepot.formats.sif import Sif, parse
from tests import sifs
from tests.conftest import needs
from tests.sifs import Thing, reader, sif_of, with_descriptor, with_header

WHOLE = sifs.sif(definition="Bootstrap: docker\n", labels={"maintainer": "ada"}, signatures=2)
Tool = Callable[..., str]
ARCHITECTURES = "386 amd64 arm arm64 ppc64 ppc64le mips mipsle mips64 mips64le s390x riscv64".split()
THEIR_KINDS = {
    "definition": "Def.FILE",
    "environment": "Env.Vars",
    "labels": "JSON.Labels",
    "partition": "FS",
    "signature": "Signature",
    "json": "JSON.Generic",
    "generic": "Generic/Raw",
    "crypto-message": "Cryptographic Message",
    "sbom": "SBOM",
}
THEIR_FILE_SYSTEMS = {
    "squashfs": "Squashfs", "ext3": "Ext3", "archive": "Archive", "raw": "Raw", "encrypted": "Encrypted squashfs",
}  # fmt: skip
THEIR_PARTITION_KINDS = {"system": "System", "primary": "*System", "data": "Data", "overlay": "Overlay"}


def known(path: Path) -> Sif:
    data = path.read_bytes()
    found = parse(reader(data), len(data))
    assert found is not None
    return found


@pytest.fixture
def siftool(tmp_path: Path) -> Tool:
    """Runs siftool in a folder of its own, and gives what it says."""
    program = needs("siftool", "siftool")

    def run(*words: object) -> str:
        command = [program, *map(str, words)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True).stdout

    return run


def fields_of(text: str) -> dict[str, str]:
    """What `siftool header` and `siftool info` say, by its name there."""
    return {name.strip(): value.strip() for name, value in (line.split(":", 1) for line in text.splitlines())}


def listed(siftool: Tool, path: Path) -> list[tuple[int, int, str]]:
    """Id, size and type of all objects, as `siftool list` has them."""
    lines = re.findall(r"^(\d+) .*\|(\d+)-(\d+) +\|(.*)$", siftool("list", path), re.MULTILINE)
    return [(int(number), int(end) - int(start), kind) for number, start, end, kind in lines]


def ours(found: Sif) -> list[tuple[int, int, str]]:
    """The same of what we found, without what siftool puts behind the type of objects that are no partitions."""
    partitions = iter(found.partitions)
    lines = []
    for each in found.descriptors:
        kind = THEIR_KINDS[each.kind]
        if each.kind == "partition":
            one = next(partitions)
            words = (THEIR_FILE_SYSTEMS[one.file_system], THEIR_PARTITION_KINDS[one.kind], one.architecture)
            kind += f" ({'/'.join(words)})"
        lines.append((each.id, each.size, kind))
    return lines


def plain(lines: Sequence[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    return [(each, size, kind if kind.startswith("FS") else kind.partition(" (")[0]) for each, size, kind in lines]


def test_every_kind_of_object_is_read_as_siftool_lists_it(siftool: Tool, tmp_path: Path) -> None:
    (tmp_path / "object").write_bytes(b'{"key": "value"}')
    siftool("new", "a.sif")
    options: dict[int, tuple[object, ...]] = {
        4: ("--parttype", 2, "--partfs", 1, "--partarch", 2),
        5: ("--signentity", sifs.fingerprint(0), "--signhash", 1),
        9: ("--sbomformat", "spdx-json"),
    }
    for kind in range(1, 10):
        siftool("add", "a.sif", "object", "--datatype", kind, "--filename", f"name {kind}", *options.get(kind, ()))
    found = known(tmp_path / "a.sif")
    assert ours(found) == plain(listed(siftool, tmp_path / "a.sif"))
    infos = [fields_of(siftool("info", each.id, "a.sif")) for each in found.descriptors]
    assert [each.name for each in found.descriptors] == [info["Name"] for info in infos]
    assert list(found.fingerprints) == [info["Entity"] for info in infos if "Entity" in info]
    assert found.definition == siftool("dump", 1, "a.sif")
    assert found.labels == {"key": "value"}


@pytest.mark.parametrize("number", range(1, 13))
def test_every_architecture_is_the_word_of_siftool(siftool: Tool, tmp_path: Path, number: int) -> None:
    (tmp_path / "object").write_bytes(sifs.SQUASHFS)
    siftool("new", "a.sif")
    words = ("--datatype", 4, "--parttype", 2, "--partfs", 1, "--partarch", number)
    siftool("add", "a.sif", "object", *words)
    found = known(tmp_path / "a.sif")
    assert fields_of(siftool("header", "a.sif"))["Primary Architecture"] == found.architecture
    assert found.architecture == found.partitions[0].architecture == ARCHITECTURES[number - 1]


def test_every_kind_of_partition_is_read_as_siftool_lists_it(siftool: Tool, tmp_path: Path) -> None:
    (tmp_path / "object").write_bytes(sifs.SQUASHFS)
    siftool("new", "a.sif")
    kinds = [(kind, file_system) for kind in (1, 3, 4) for file_system in range(1, 5)]
    for kind, file_system in [(2, 2), *kinds]:
        words = ("--datatype", 4, "--parttype", kind, "--partfs", file_system, "--partarch", 2)
        siftool("add", "a.sif", "object", *words)
    found = known(tmp_path / "a.sif")
    assert ours(found) == plain(listed(siftool, tmp_path / "a.sif"))
    assert len(found.partitions) == 13


def test_a_sif_that_was_changed_is_read_as_siftool_lists_it(siftool: Tool, tmp_path: Path) -> None:
    path = tmp_path / "a.sif"
    path.write_bytes(sif_of([Thing(sifs.GENERIC, b"one"), sifs.partition(), sifs.partition("04", kind=1)]))
    siftool("setprim", 3, "a.sif")
    siftool("del", 1, "a.sif")
    found = known(path)
    assert ours(found) == listed(siftool, path)
    assert [each.id for each in found.descriptors] == [2, 3]
    assert fields_of(siftool("header", "a.sif"))["Primary Architecture"] == found.architecture == "arm64"


def test_siftool_reads_the_sifs_of_these_tests_as_we_do(siftool: Tool, tmp_path: Path) -> None:
    message = Thing(sifs.MESSAGE, b"m", "message", struct.pack("<ii", 2, 0x200))
    files = [WHOLE, sifs.sif(encrypted=True, created_at=1), sif_of([message, *[sifs.partition(kind=3)] * 47])]
    for number, data in enumerate(files):
        path = tmp_path / f"{number}.sif"
        path.write_bytes(data)
        assert ours(known(path)) == plain(listed(siftool, path))
    assert fields_of(siftool("header", "0.sif"))["Created At"] == "2023-11-14 22:13:20 +0000 UTC"


def test_the_sifs_of_these_tests_are_those_of_siftool_but_for_id_and_times(siftool: Tool, tmp_path: Path) -> None:
    definition = Thing(sifs.DEFINITION, b"From: a", "a.def")
    things = [sifs.partition("04", data=b"x" * 5000), definition, sifs.partition("04", kind=4)]
    siftool("new", "a.sif")
    for thing in things:
        (tmp_path / "object").write_bytes(thing.data)
        words: tuple[object, ...] = ("--filename", thing.name)
        if thing.kind == sifs.PARTITION:
            file_system, kind, _ = struct.unpack("<ii3s", thing.extra)
            words = ("--partfs", file_system, "--parttype", kind, "--partarch", 4)
        siftool("add", "a.sif", "object", "--datatype", thing.kind - 0x4000, *words)
    theirs = (tmp_path / "a.sif").read_bytes()
    theirs = with_header(theirs, uuid=sifs.UUID, created=sifs.CREATED_AT, modified=sifs.CREATED_AT)
    for row in range(len(things)):
        theirs = with_descriptor(theirs, row, created=sifs.CREATED_AT, modified=sifs.CREATED_AT)
    assert theirs == sif_of(things, architecture="04")


@pytest.mark.parametrize(
    "fields", [{"magic": b"SIF_MAGICK"}, {"version": b"02"}, {"length": 48 * 585 - 1}, {"offset": len(WHOLE) - 100}]
)
def test_what_siftool_does_not_open_is_a_plain_file(siftool: Tool, tmp_path: Path, fields: dict[str, int]) -> None:
    data = with_header(WHOLE, **fields)
    (tmp_path / "a.sif").write_bytes(data)
    with pytest.raises(subprocess.CalledProcessError):
        siftool("list", "a.sif")
    assert parse(reader(data), len(data)) is None
