"""What bytes are by themselves: as the real tools write them, and as other bytes only seem."""

import bz2
import gzip
import io
import lzma
import shutil
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.formats import sniff
from entrepot.formats.sif import Read
from tests import sifs
from tests.conftest import needs
from tests.sifs import reader

TEXT = b"Sorry, no magic here.\n" * 100
PARTITION = struct.pack("<B3sB3sII", 0x80, b"", 0x83, b"", 2048, 4096)
VHD = struct.pack(">8sIIQ", b"conectix", 2, 0x00010000, 2**64 - 1).ljust(512, b"\0")


def sniffed(data: bytes) -> str | None:
    return sniff.media_type(reader(data), len(data))


def placed(*pieces: tuple[int, bytes], size: int = 65536) -> bytes:
    """`size` bytes of zeros with each piece at its offset."""
    data = bytearray(size)
    for offset, piece in pieces:
        data[offset : offset + len(piece)] = piece
    return bytes(data)


def mbr(*entries: bytes) -> tuple[int, bytes]:
    return 446, b"".join(entries).ljust(64, b"\0") + b"\x55\xaa"


def tar(format: int) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=format) as archive:
        archive.addfile(tarfile.TarInfo("läng/" * 30 if format == tarfile.PAX_FORMAT else "name"))
    return made.getvalue()


def zipped(*names: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in names:
            archive.writestr(name, TEXT)
    return made.getvalue()


WRITTEN = {
    "sif": (sifs.sif(), sniff.SIF),
    "gzip": (gzip.compress(TEXT), sniff.GZIP),
    "xz": (lzma.compress(TEXT), sniff.XZ),
    "bzip2": (bz2.compress(TEXT), sniff.BZIP2),
    "bzip2 of nothing": (bz2.compress(b"", 1), sniff.BZIP2),
    "zip": (zipped("a", "b"), sniff.ZIP),
    "zip of nothing": (zipped(), sniff.ZIP),
    "tar as pax": (tar(tarfile.PAX_FORMAT), sniff.TAR),
    "tar as gnu": (tar(tarfile.GNU_FORMAT), sniff.TAR),
    "tar as ustar": (tar(tarfile.USTAR_FORMAT), sniff.TAR),
    "tar with a wrong checksum": (placed((257, b"ustar\x0000")), sniff.TAR),
    "squashfs": (b"hsqs" + bytes(4092), sniff.SQUASHFS),
    "qcow": (b"QFI\xfb\0\0\0\3" + bytes(65528), sniff.QCOW),
    "sparse vmdk": (b"KDMV\1\0\0\0" + bytes(504), sniff.VMDK),
    "vmdk of esx": (b"COWD\1\0\0\0" + bytes(504), sniff.VMDK),
    "descriptor of a vmdk": (b"# Disk DescriptorFile\nversion=1\n", sniff.VMDK),
    "vhdx": (b"vhdxfile" + bytes(65528), sniff.VHDX),
    "dynamic vhd": (placed((0, VHD), (65024, VHD)), sniff.VHD),
    "fixed vhd": (placed(mbr(PARTITION), (65024, VHD)), sniff.VHD),
    "fixed vhd of zeros": (placed((65024, VHD)), sniff.VHD),
    "fixed vhd of old": (placed(mbr(PARTITION), (65025, VHD[:511])), sniff.VHD),
    "fixed vhd with a gpt": (placed((512, b"EFI PART"), (65024, VHD)), sniff.VHD),
    "iso": (placed((32769, b"CD001")), sniff.ISO),
    "iso that is a disk too": (placed(mbr(PARTITION), (512, b"EFI PART"), (32769, b"CD001")), sniff.ISO),
    "gpt": (placed((512, b"EFI PART")), sniff.RAW_DISK),
    "gpt of 4 KiB sectors": (placed((4096, b"EFI PART")), sniff.RAW_DISK),
    "mbr": (placed(mbr(PARTITION)), sniff.RAW_DISK),
    "mbr, its last entry used": (placed(mbr(bytes(48), PARTITION)), sniff.RAW_DISK),
    "mbr with boot code": (placed((0, b"\xeb\x63\x90" + TEXT[:400]), mbr(PARTITION)), sniff.RAW_DISK),
    "mbr of 512 bytes": (placed(mbr(PARTITION), size=512), sniff.RAW_DISK),
}
SEEMING = {
    "nothing": b"",
    "a byte": b"Q",
    "text": TEXT,
    "zeros": bytes(65536),
    "spaces": b" " * 65536,
    "a magic one byte late": b"\0hsqs" + bytes(600),
    "text that begins like bzip2": b"BZh9 is a name" * 50,
    "text that begins like a vhd": b"conectix was a company" * 50,
    "text that ends in the cookie of a vhd": bytes(1000) + b"conectix",
    "vhd footer that is not the last sector": placed((64512, VHD)),
    "the magic of a sif at its start": b"SIF_MAGIC\0" + bytes(600),
    "the magic of a sif without its end": bytes(32) + b"SIF_MAGICS" + bytes(600),
    "gzip by no known method": b"\x1f\x8b\x07" + bytes(600),
    "mbr without partitions": placed(mbr()),
    "mbr without its signature": placed((446, PARTITION)),
    "mbr with an entry of no type": placed(mbr(PARTITION[:4] + b"\0" + PARTITION[5:])),
    "mbr with an entry of no sectors": placed(mbr(PARTITION[:12])),
    "mbr with code in an entry": placed(mbr(PARTITION, b"\x01" + bytes(15))),
    "mbr cut short": placed(mbr(PARTITION))[:511],
    "gpt backup alone": placed((65024, b"EFI PART")),
    "iso magic a sector late": placed((32769 + 2048, b"CD001")),
    "tar header cut short": tar(tarfile.USTAR_FORMAT)[:511],
}


@pytest.mark.parametrize(("data", "expected"), WRITTEN.values(), ids=WRITTEN)
def test_bytes_say_what_they_are(data: bytes, expected: str) -> None:
    assert sniffed(data) == expected


@pytest.mark.parametrize("data", SEEMING.values(), ids=SEEMING)
def test_bytes_that_only_seem_to_be_something_are_nothing(data: bytes) -> None:
    assert sniffed(data) is None


@pytest.mark.parametrize("script", [b"#!/usr/bin/env run-singularity\n", b"\x1f\x8b\x08\0", b"hsqs", b"QFI\xfb"])
def test_the_magic_of_a_sif_decides_whatever_stands_before_it(script: bytes) -> None:
    assert sniffed(sifs.with_header(sifs.sif(), script=script)) == sniff.SIF


def test_a_tar_from_before_ustar_is_known_by_its_checksum() -> None:
    header = bytearray(tar(tarfile.USTAR_FORMAT)[:512])
    header[257:512] = bytes(255)
    header[148:156] = b" " * 8
    checksum = sum(header)
    for written in (b"%06o\0 " % checksum, b"%6o\0 " % checksum, b"%07o\0" % checksum, b"%08o" % checksum):
        header[148:156] = written
        assert sniffed(bytes(header) + bytes(512)) == sniff.TAR
    header[148:156] = b"%06o\0 " % (checksum + 1)
    assert sniffed(bytes(header) + bytes(512)) is None


def counted(data: bytes) -> tuple[Read, list[tuple[int, int]]]:
    asked: list[tuple[int, int]] = []

    def read(offset: int, length: int) -> bytes:
        asked.append((offset, length))
        return data[offset : offset + length]

    return read, asked


def test_the_beginning_is_read_once_and_the_end_only_where_it_may_say_something() -> None:
    for data, expected in WRITTEN.values():
        read, asked = counted(data)
        sniff.media_type(read, len(data))
        assert asked[0] == (0, min(len(data), 34816))
        by_sectors = expected in {sniff.RAW_DISK, sniff.VHD} and not data.startswith(VHD)
        assert asked[1:] == ([(len(data) - 512, 512)] if by_sectors else [])


def test_a_small_file_is_never_read_before_its_start() -> None:
    for size in (0, 1, 511, 512):
        read, asked = counted(bytes(size))
        assert sniff.media_type(read, size) is None
        assert all(offset >= 0 for offset, _ in asked)


@given(st.binary(max_size=600), st.integers(0, 2**63 - 1))
def test_no_bytes_make_it_fail(data: bytes, size: int) -> None:
    for each in (data, bytes(146) + data, bytes(440) + data):
        sniff.media_type(reader(each), len(each))
        sniff.media_type(reader(each), size)


@given(st.sampled_from(sorted(WRITTEN)), st.integers(0, 40000))
def test_no_cut_makes_it_fail(name: str, length: int) -> None:
    data = WRITTEN[name][0][:length]
    assert sniffed(data) in {WRITTEN[name][1], sniff.RAW_DISK, None}


# --- as the tools write them -----------------------------------------------------------------------------------------

Tool = Callable[..., bytes]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with a file."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_bytes(TEXT)
    return folder


def made(tmp_path: Path, name: str, *command: object) -> bytes:
    """The file of that name that the command makes."""
    subprocess.run([*map(str, command)], cwd=tmp_path, capture_output=True, timeout=60, check=True)
    return (tmp_path / name).read_bytes()


def perhaps(tool: str) -> str:
    """Path of a program these tests can do without: what it writes is also there by hand."""
    found = shutil.which(tool)
    return found or pytest.skip(f"{tool} is not here")


@pytest.mark.parametrize("format", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_a_tar_of_any_format_is_one(tmp_path: Path, source: Path, format: str) -> None:
    data = made(tmp_path, "a.tar", needs("tar", "tar"), f"--format={format}", "-cf", "a.tar", source.name)
    assert sniffed(data) == sniff.TAR


@pytest.mark.parametrize(
    ("tool", "suffix", "expected"),
    [("gzip", "gz", sniff.GZIP), ("xz", "xz", sniff.XZ), ("bzip2", "bz2", sniff.BZIP2), ("zstd", "zst", sniff.ZSTD)],
)
def test_what_a_compressor_writes_is_its_own(
    tmp_path: Path, source: Path, tool: str, suffix: str, expected: str
) -> None:
    command = (perhaps(tool), "-k", source / "file")
    assert sniffed(made(source, f"file.{suffix}", *command)) == expected


def test_a_squashfs_is_one_alone_and_a_sif_inside_one(tmp_path: Path, source: Path) -> None:
    data = made(tmp_path, "a.sqfs", needs("mksquashfs", "squashfs-tools"), source, "a.sqfs", "-quiet")
    assert sniffed(data) == sniff.SQUASHFS
    assert sniffed(sifs.sif(payload=data)) == sniff.SIF


@pytest.mark.parametrize(
    ("format", "options", "expected"),
    [
        ("raw", "", sniff.RAW_DISK),
        ("qcow", "", sniff.QCOW),
        ("qcow2", "", sniff.QCOW),
        ("vmdk", "subformat=monolithicSparse", sniff.VMDK),
        ("vmdk", "subformat=streamOptimized", sniff.VMDK),
        ("vmdk", "subformat=monolithicFlat", sniff.VMDK),
        ("vpc", "subformat=dynamic", sniff.VHD),
        ("vpc", "subformat=fixed", sniff.VHD),
        ("vhdx", "", sniff.VHDX),
    ],
)
def test_a_disk_that_qemu_writes_is_of_its_format(tmp_path: Path, format: str, options: str, expected: str) -> None:
    (tmp_path / "a.raw").write_bytes(placed(mbr(PARTITION), size=4 << 20))
    command = (perhaps("qemu-img"), "convert", "-f", "raw", "-O", format, *(["-o", options] if options else []))
    assert sniffed(made(tmp_path, "made", *command, "a.raw", "made")) == expected


@pytest.mark.parametrize("words", [(), ("-isohybrid-gpt-basdat",), ("-partition_offset", "16")])
def test_an_iso_is_one_with_partitions_and_without(tmp_path: Path, source: Path, words: tuple[str, ...]) -> None:
    command = (perhaps("xorriso"), "-as", "mkisofs", *words, "-o", "a.iso", source)
    assert sniffed(made(tmp_path, "a.iso", *command)) == sniff.ISO


@pytest.mark.parametrize("label", ["dos", "gpt"])
def test_a_disk_that_was_partitioned_is_one(tmp_path: Path, label: str) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(bytes(4 << 20))
    script = f"label: {label}\n,\n".encode()
    subprocess.run([perhaps("sfdisk"), path], input=script, capture_output=True, timeout=60, check=True)
    assert sniffed(path.read_bytes()) == sniff.RAW_DISK


@pytest.mark.parametrize("tool", ["mkfs.ext4", "mkfs.fat"])
def test_a_file_system_alone_is_no_disk(tmp_path: Path, tool: str) -> None:
    path = tmp_path / "a.img"
    path.write_bytes(bytes(4 << 20))
    subprocess.run([perhaps(tool), path], capture_output=True, timeout=60, check=True)
    assert sniffed(path.read_bytes()) is None
