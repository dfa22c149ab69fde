"""Images as one tar, to carry across an air gap: an OCI layout, the same images always the same bytes.

So an unfinished tar is continued: what is in it is compared with what it must be, member by member.
"""

import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from entrepot.client import registry
from entrepot.client.flow import Buffer, Flow, work
from entrepot.client.layout import LAYOUT, Descriptor, blob_path, layout_index
from entrepot.client.localfile import PIECE_BYTES, check_target, file_errors
from entrepot.client.part import PartFile
from entrepot.client.progress import Meter
from entrepot.client.pull import Found, check, fetch
from entrepot.client.reference import RepositoryBytes
from entrepot.client.registry import ImageRef, Manifest
from entrepot.errors import NotFound
from entrepot.model import NamedDigest

_BLOCK_BYTES: Final = 512
_END: Final = bytes(2 * _BLOCK_BYTES)


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the tar: bytes at hand, or to be fetched."""

    path: str
    content: bytes | Found

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self.content.size if isinstance(self.content, Found) else len(self.content)

    @property
    def header(self) -> bytes:
        """What stands before it. Nothing in it depends on who writes it, or when."""
        info = tarfile.TarInfo(self.path)
        info.size = self.size
        return info.tobuf(tarfile.PAX_FORMAT)

    @property
    def padding(self) -> int:
        """Zeros behind it."""
        return -self.size % _BLOCK_BYTES

    @property
    def digest(self) -> tuple[str, str]:
        """Algorithm and checksum of its bytes, in hex."""
        if isinstance(self.content, Found):
            algorithm, _, hex_ = self.content.digest.partition(":")
            return algorithm, hex_
        return "sha256", hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes into a bundle, collected from the server."""

    images: dict[ImageRef, Manifest] = field(default_factory=dict)
    manifests: dict[NamedDigest, Manifest] = field(default_factory=dict)
    blobs: dict[NamedDigest, Found] = field(default_factory=dict)
    referrers: dict[NamedDigest, Manifest] = field(default_factory=dict)

    @property
    def members(self) -> list[Member]:
        """The files of the tar, sorted."""
        listed: list[tuple[str, Descriptor]] = [(str(ref), one.descriptor) for ref, one in self.images.items()]
        listed += [("", one.descriptor) for one in self.referrers.values()]
        found = [Member("oci-layout", LAYOUT), Member("index.json", layout_index(listed))]
        found += [Member(blob_path(digest), one.data) for digest, one in self.manifests.items()]
        found += [Member(blob_path(digest), one) for digest, one in self.blobs.items()]
        return sorted({member.path: member for member in found}.values(), key=lambda member: member.path)


def collect(refs: Sequence[ImageRef]) -> Flow[Contents]:
    """All that belongs to these images: what an index names, and what refers to any of it. Raises: NotFound; Denied."""
    contents = Contents()
    for ref in refs:
        root = yield from registry.manifest(ref.name, ref.tag)
        contents.images[ref] = root
        yield from _collect(ref.name, root, contents)
    return contents


def _collect(name: str, root: Manifest, contents: Contents) -> Flow[None]:
    waiting = [root]
    seen: set[NamedDigest] = set()
    while waiting:
        one = waiting.pop()
        if one.digest in seen:
            continue
        seen.add(one.digest)
        contents.manifests[one.digest] = one
        yield from _blobs(name, one, contents)
        for child in one.content.manifests or []:
            try:
                waiting.append((yield from registry.manifest(name, str(child.named))))
            except NotFound:
                continue  # of a sparse index
        for digest in (yield from registry.referrers(name, one.digest)):
            other = yield from registry.manifest(name, str(digest))
            contents.referrers[digest] = other
            waiting.append(other)


def _blobs(name: str, one: Manifest, contents: Contents) -> Flow[None]:
    for blob in one.content.blobs:
        digest = blob.named
        if blob.is_elsewhere and (yield from registry.has(name, "blobs", str(digest))) is None:
            continue
        contents.blobs.setdefault(digest, Found(RepositoryBytes(name, "blobs", digest), str(digest), blob.size))


@dataclass(frozen=True, slots=True)
class Bundled:
    """A whole tar. `received` and `saved` bytes: what moved, and what was here already."""

    path: str
    digest: str
    size: int
    received: int
    saved: int


def write_bundle(contents: Contents, target: str, meter: Meter, at_once: int) -> Flow[Bundled]:
    """The file `target`, which appears when all in it is verified. What an earlier run left is continued.

    Raises: DigestMismatch; NotFound, for what was deleted meanwhile; DiskFull; UsageError; Busy.
    """
    members = contents.members
    yield from work(lambda: check_target(target))
    part = yield from work(lambda: PartFile.open(target))
    try:
        whole = yield from work(lambda: whole_members(part.path, members))
        saved = yield from work(lambda: _resume(part, members[:whole]))
        meter.begin("download", sum(member.size for member in members))
        meter.skip("download", sum(member.size for member in members[:whole]))
        for member in members[whole:]:
            yield from _append(member, part, meter, at_once)
        yield from work(lambda: part.write(_END))
        yield from work(lambda: part.appear(durable=True))
        return Bundled(target, f"sha256:{part.digest_hex()}", part.written, part.written - saved, saved)
    finally:
        part.close()


def _resume(part: PartFile, whole: Sequence[Member]) -> int:
    size = sum(len(member.header) + member.size + member.padding for member in whole)
    part.cut(size)
    return part.resume(size, lambda _: None)


def _append(member: Member, part: PartFile, meter: Meter, at_once: int) -> Flow[None]:
    yield from work(lambda: part.write(member.header))
    if isinstance(member.content, Found):
        sink = _MemberSink(part, member.content.algorithm)
        yield from fetch(member.content, sink, meter, at_once)
        check(member.content, sink)
    else:
        content = member.content
        yield from work(lambda: part.write(content))
        meter.moved("download")(len(content))
    yield from work(lambda: part.write(bytes(member.padding)))


class _MemberSink:
    """One member as it grows at the end of the tar."""

    def __init__(self, part: PartFile, algorithm: str) -> None:
        self._part = part
        self._hashed = hashlib.new(algorithm)
        self.written = 0

    def write(self, buffer: Buffer) -> None:
        """Take the next bytes."""
        self._part.write(buffer)
        self._hashed.update(buffer)
        self.written += len(buffer)

    def digest_hex(self) -> str:
        """The checksum of all it holds."""
        return self._hashed.hexdigest()


def whole_members(path: str, members: Sequence[Member]) -> int:
    """How many of these members the unfinished tar at `path` begins with, header, bytes and padding."""
    with file_errors(path), open(path, "rb") as file:
        for count, member in enumerate(members):
            algorithm, hex_ = member.digest
            hashed = hashlib.new(algorithm)
            if file.read(len(member.header)) != member.header:
                return count
            for piece in _pieces(member.size):
                hashed.update(file.read(piece))
            if hashed.hexdigest() != hex_ or file.read(member.padding) != bytes(member.padding):
                return count
    return len(members)


def _pieces(size: int) -> Iterator[int]:
    while size > 0:
        yield min(size, PIECE_BYTES)
        size -= PIECE_BYTES


def bundle_size(contents: Contents) -> int:
    """Bytes of what would be in it."""
    return sum(member.size for member in contents.members)
