"""What bytes are, by themselves: no name, no header of a request has a say.

Source: specs of OCI, section 2.9, for the types.
"""

import re
from typing import Final

from entrepot.formats.sif import MAGIC as SIF_MAGIC
from entrepot.formats.sif import MAGIC_OFFSET as SIF_MAGIC_OFFSET
from entrepot.formats.sif import Read

SIF: Final = "application/vnd.sylabs.sif.layer.v1.sif"
SQUASHFS: Final = "application/vnd.squashfs"
QCOW: Final = "application/x-qemu-disk"
VMDK: Final = "application/x-vmdk-disk"
VHD: Final = "application/x-vhd-disk"
VHDX: Final = "application/x-vhdx-disk"
RAW_DISK: Final = "application/x-raw-disk-image"
ISO: Final = "application/vnd.efi.iso"
TAR: Final = "application/x-tar"
GZIP: Final = "application/gzip"
ZIP: Final = "application/zip"
ZSTD: Final = "application/zstd"
XZ: Final = "application/x-xz"
BZIP2: Final = "application/x-bzip2"

_BEGINNINGS: Final = (
    (b"hsqs", SQUASHFS),
    (b"QFI\xfb", QCOW),
    (b"KDMV", VMDK),
    (b"COWD", VMDK),
    (b"# Disk DescriptorFile", VMDK),
    (b"vhdxfile", VHDX),
    (b"\x1f\x8b\x08", GZIP),
    (b"PK\x03\x04", ZIP),
    (b"PK\x05\x06", ZIP),
    (b"PK\x07\x08", ZIP),
    (b"\x28\xb5\x2f\xfd", ZSTD),
    (b"\xfd7zXZ\0", XZ),
)
_BZIP2: Final = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")
_SECTOR: Final = 512
_HEAD: Final = 34 * 1024  # to the end of the first descriptor of an ISO
_VHD_COOKIE: Final = b"conectix"
_VHD_VERSION: Final = b"\0\1"  # in front of a minor number
_OCTAL: Final = re.compile(rb" *([0-7]+)[ \0]*\Z")


def media_type(read: Read, size: int) -> str | None:
    """The type of the `size` bytes that `read` gives, or None. It reads 34 KiB, and the last sector if they say little.

    The magic of a SIF decides before all else, whatever script stands in front of it; whether the rest holds is for
    `sif.parse` to say. An ISO that is also a disk is an ISO, a fixed VHD is no raw disk. No bytes make it fail.
    """
    head = read(0, min(size, _HEAD))
    if head.startswith(SIF_MAGIC, SIF_MAGIC_OFFSET):
        return SIF
    for beginning, found in _BEGINNINGS:
        if head.startswith(beginning):
            return found
    if _BZIP2.match(head):
        return BZIP2
    if _is_tar(head):
        return TAR
    if head.startswith(b"CD001", 32769):
        return ISO
    return _disk(read, size, head)


def _disk(read: Read, size: int, head: bytes) -> str | None:
    """A disk that is told by its sectors. Those of a fixed VHD are a raw disk's, with a footer behind them."""
    if _is_vhd(head) or (size >= _SECTOR and _is_vhd_footer(read(size - _SECTOR, _SECTOR))):
        return VHD
    has_gpt = any(head.startswith(b"EFI PART", sector) for sector in (512, 4096))
    return RAW_DISK if has_gpt or _has_partitions(head[:_SECTOR]) else None


def _is_vhd(data: bytes) -> bool:
    return data.startswith(_VHD_COOKIE) and data.startswith(_VHD_VERSION, 12)


def _is_vhd_footer(sector: bytes) -> bool:
    """Whether the last sector is one; those of Virtual PC before 2004 have 511 bytes."""
    return _is_vhd(sector) or _is_vhd(sector[1:])


def _has_partitions(sector: bytes) -> bool:
    """Whether that is an MBR with a partition: any status byte but 0x00 and 0x80 means code or text."""
    if not sector.endswith(b"\x55\xaa", 510):
        return False
    entries = [sector[start : start + 16] for start in range(446, 510, 16)]
    return all(entry[0] in (0x00, 0x80) for entry in entries) and any(entry[4] and any(entry[12:]) for entry in entries)


def _is_tar(head: bytes) -> bool:
    """Whether the first block is a header: it says ustar, or, as before 1988, only has the checksum of one.

    Source: POSIX.1-2024, pax, "ustar Interchange Format".
    """
    block = head[:_SECTOR]
    if len(block) < _SECTOR:
        return False
    checksum = _OCTAL.match(block[148:156])
    blank = block[:148] + b" " * 8 + block[156:]
    return block.startswith(b"ustar", 257) or (checksum is not None and int(checksum[1], 8) == sum(blank))
