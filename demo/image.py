"""A container image to show things with: a small root file system as squashfs, inside a SIF file.

It holds this machine's shell and `cat` with the libraries they need, so that Apptainer or Singularity can run it, and
files of random bytes, so that it weighs something and nothing about it can be compressed or guessed.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import struct
import subprocess
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MIB: Final = 1 << 20
LAUNCH: Final = b"#!/usr/bin/env run-singularity\n"
HEADER: Final = struct.Struct("<32s10s3s3s16sqqqqqqqq")
DESCRIPTOR: Final = struct.Struct("<i?IIIqqqqqqq128s384s")
DESCRIPTORS: Final = 48
DESCRIPTORS_AT: Final = 4096
PAGE: Final = 4096
DEFINITION: Final = 0x4001
PARTITION: Final = 0x4004
JSON_TEXT: Final = 0x4006
ARCHITECTURES: Final = {"i686": "01", "x86_64": "02", "armv7l": "03", "aarch64": "04", "ppc64le": "06", "s390x": "11"}
GROUP: Final = 0xF0000001
_PROGRAMS: Final = ("sh", "cat")

DEFINITION_TEXT: Final = """\
Bootstrap: scratch

%runscript
    echo "Hello from the image."
    cat /etc/os-release

%labels
    org.opencontainers.image.title entrepot demo
"""
LABELS: Final = {"org.opencontainers.image.title": "entrepot demo", "org.opencontainers.image.version": "1"}
FILES: Final = {
    "etc/os-release": 'NAME="entrepot demo"\nID=demo\nVERSION_ID=1\n',
    ".singularity.d/runscript": '#!/bin/sh\necho "Hello from the image."\ncat /etc/os-release\n',
    ".singularity.d/labels.json": json.dumps(LABELS),
    ".singularity.d/Singularity": DEFINITION_TEXT,
}


@dataclass(frozen=True, slots=True)
class Part:
    """One data object of a SIF file: its type and name, what its kind adds, and its bytes or the file they are in."""

    type: int
    name: str
    extra: bytes
    content: bytes | Path

    @property
    def size(self) -> int:
        """Length of the bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


@dataclass(frozen=True, slots=True)
class Image:
    """A finished SIF file, and where in it the squashfs begins."""

    path: Path
    size: int
    sha256: str
    squashfs_at: int


def make_root(root: Path, mib: int) -> None:
    """A root file system below `root` with `mib` MiB of random data."""
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / ".singularity.d" / "runscript").chmod(0o755)
    for folder in ("dev", "proc", "sys", "tmp", "data", "bin"):
        (root / folder).mkdir(exist_ok=True)
    for program in _PROGRAMS:
        _copy_program(program, root)
    for number in range(0, mib, 16):
        (root / "data" / f"sample-{number // 16:02}.bin").write_bytes(os.urandom(min(16, mib - number) * MIB))


def _copy_program(name: str, root: Path) -> None:
    """A program of this machine with its libraries, where it expects them; nothing if it is not here."""
    found = shutil.which(name)
    if found is None:
        return
    shutil.copy(found, root / "bin" / name)
    listed = subprocess.run(["ldd", found], capture_output=True, text=True, check=False).stdout
    for library in re.findall(r"(/\S+) \(0x", listed):
        target = root / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)


def pack(root: Path, target: Path) -> None:
    """`root` as a squashfs file. Raises: ValueError."""
    run("mksquashfs", root, target, "-noappend", "-no-progress", "-all-root", "-comp", "gzip", "-no-xattrs")


def run(*command: str | Path) -> None:
    """Runs a program to its end. Raises: ValueError, with its words, if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise ValueError(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-400:]}")


def parts_of(squashfs: Path) -> list[Part]:
    """What goes into the SIF: definition file, labels, primary system partition."""
    metadata = {"data": {"attributes": {"labels": LABELS}}, "type": "container"}
    partition = struct.pack("<ii3s", 1, 2, arch())  # squashfs, primary system, made for this machine
    return [
        Part(DEFINITION, "Singularity", b"", DEFINITION_TEXT.encode()),
        Part(JSON_TEXT, "inspect-metadata.json", b"", json.dumps(metadata).encode()),
        Part(PARTITION, "rootfs", partition, squashfs),
    ]


def arch() -> bytes:
    """This machine's architecture as SIF writes it: two digits, a NUL; 00 for one it does not know."""
    return ARCHITECTURES.get(platform.machine(), "00").encode() + b"\0"


def write_sif(parts: Sequence[Part], target: Path) -> None:
    """`parts` as a SIF file: header, table of descriptors, and each object at the start of a page. Source: SIF 1.0."""
    now = int(time.time())
    table = DESCRIPTORS * DESCRIPTOR.size
    data_at = _page(DESCRIPTORS_AT + table)
    descriptors, end = b"", data_at
    for number, part in enumerate(parts, 1):
        start = _page(end)
        descriptors += DESCRIPTOR.pack(
            part.type, True, number, GROUP, 0, start, part.size, start - end + part.size, now, now, 0, 0,
            part.name.encode(), part.extra,
        )  # fmt: skip
        end = start + part.size
    header = HEADER.pack(
        LAUNCH, b"SIF_MAGIC", b"01", arch(), uuid.uuid4().bytes, now, now, DESCRIPTORS - len(parts), DESCRIPTORS,
        DESCRIPTORS_AT, table, data_at, end - data_at,
    )  # fmt: skip
    with target.open("wb") as file:
        file.write(header)
        file.seek(DESCRIPTORS_AT)
        file.write(descriptors)
        for part in parts:
            file.seek(_page(max(file.tell(), data_at)))
            if isinstance(part.content, bytes):
                file.write(part.content)
            else:
                with part.content.open("rb") as source:
                    shutil.copyfileobj(source, file, MIB)
    target.chmod(0o755)


def _page(offset: int) -> int:
    return -(-offset // PAGE) * PAGE


def read_parts(path: Path) -> list[tuple[int, int, int, str]]:
    """Type, offset, size and name of each object a SIF file says it has. Raises: ValueError."""
    with path.open("rb") as file:
        _, magic, _, _, _, _, _, free, total, table_at, *_ = HEADER.unpack(file.read(HEADER.size))
        if magic != b"SIF_MAGIC\0":
            raise ValueError("not a SIF file")
        file.seek(table_at)
        rows = [DESCRIPTOR.unpack(file.read(DESCRIPTOR.size)) for _ in range(total - free)]
    return [(row[0], row[5], row[6], row[12].rstrip(b"\0").decode()) for row in rows if row[1]]


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(path: Path, folder: Path) -> Image:
    """The image, if its partition is a squashfs that `unsquashfs` takes an unchanged file from. Raises: ValueError."""
    found = next((row for row in read_parts(path) if row[0] == PARTITION), None)
    if found is None:
        raise ValueError("the SIF has no partition")
    run("unsquashfs", "-no-progress", "-offset", str(found[1]), "-dest", folder, path, "etc/os-release")
    if (folder / "etc" / "os-release").read_text() != FILES["etc/os-release"]:
        raise ValueError("what unsquashfs reads from the partition is not what was packed")
    return Image(path, path.stat().st_size, sha256_of(path), found[1])


def make_image(target: Path, work: Path, mib: int) -> Image:
    """A checked SIF file `target` of about `mib` MiB; `work` is a folder for what comes before it."""
    root, squashfs = work / "root", work / "root.squashfs"
    make_root(root, mib)
    pack(root, squashfs)
    write_sif(parts_of(squashfs), target)
    squashfs.unlink()
    shutil.rmtree(root)
    return check(target, work / "unpacked")
