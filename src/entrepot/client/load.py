"""A bundle back into a registry: read without unpacking, verified, and sent where the server lacks it."""

import hashlib
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Self

from entrepot.client import registry
from entrepot.client.flow import Buffer, Flow, each, work
from entrepot.client.layout import MAX_MANIFEST_BYTES, REF_NAME, Content, Descriptor, blob_path, content_of
from entrepot.client.localfile import LocalFile, pieces
from entrepot.client.plan import Step
from entrepot.client.progress import Meter, Watcher
from entrepot.client.registry import ImageRef, Manifest
from entrepot.errors import DigestMismatch, EntrepotError, Refused, UsageError
from entrepot.model import NamedDigest, Span

_PLAIN: Final = (tarfile.REGTYPE, tarfile.AREGTYPE)


@dataclass(frozen=True, slots=True)
class Section:
    """A range of a file, as bytes that can be sent."""

    file: LocalFile
    name: str
    span: Span

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self.span.length

    def read(self, step: Step) -> Buffer:
        """These bytes. Raises: DigestMismatch, if the file ends before."""
        return self.file.read(Step(self.span.start + step.start, self.span.start + step.stop))

    def check(self) -> None:
        """Nothing. Raises: DigestMismatch, if the file changed since it was opened."""
        self.file.check()


@dataclass(frozen=True, slots=True)
class Bundle:
    """An open tar with an OCI layout in it."""

    file: LocalFile
    members: Mapping[str, Span]

    @classmethod
    def open(cls, path: str) -> Self:
        """The bundle at `path`. Raises: NotFound; Denied; Refused, if it is none."""
        file = LocalFile.open(path)
        try:
            found = cls(file, _members(path, file.size))
            if "oci-layout" not in found.members or "index.json" not in found.members:
                raise Refused(f"{path} is no bundle", why="it is a tar, but not of an OCI layout")
        except EntrepotError:
            file.close()
            raise
        return found

    def close(self) -> None:
        """Give the file back."""
        self.file.close()

    def section(self, path: str) -> Section | None:
        """A file of the layout, None if it is not in it."""
        span = self.members.get(path)
        return Section(self.file, f"{path} in {self.file.name}", span) if span else None

    def text(self, path: str) -> bytes:
        """A small file. Raises: Refused, if it is large or missing."""
        section = self.section(path)
        if section is None or section.size > MAX_MANIFEST_BYTES:
            raise Refused(f"{self.file.name} has no usable {path}", why=f"at most {MAX_MANIFEST_BYTES} bytes are read")
        return bytes(section.read(Step(0, section.size)))

    def index(self) -> Content:
        """What the layout lists. Raises: Refused."""
        return content_of(self.text("index.json"), f"index.json in {self.file.name}")

    def manifest(self, one: Descriptor) -> Manifest | None:
        """The manifest `one` points to, verified; None if it is not in it. Raises: DigestMismatch; Refused."""
        path = blob_path(one.named)
        if path not in self.members:
            return None
        data = self.text(path)
        registry.check_digest(data, one.named, f"{path} in {self.file.name}")
        return Manifest(one.named, one.media_type or content_of(data, path).media_type, data)


def _members(path: str, size: int) -> dict[str, Span]:
    """Where each plain file of the tar is; links and all else are not looked at, and nothing is unpacked."""
    found: dict[str, Span] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for one in tar:
                if one.type in _PLAIN:
                    found[one.name.removeprefix("./")] = Span(one.offset_data, one.offset_data + one.size)
    except (tarfile.TarError, ValueError, EOFError) as error:
        if not found:
            raise Refused(f"{path} is no bundle", why="it is not a plain tar", advice="unpack it first") from error
        raise _cut(path) from error
    if any(span.stop is None or span.stop > size for span in found.values()):
        raise _cut(path)
    return found


def _cut(path: str) -> DigestMismatch:
    return DigestMismatch(f"{path} ends in the middle of a file", why="it was not copied as a whole")


@dataclass(frozen=True, slots=True)
class Image:
    """One tagged manifest of a bundle, and all that belongs to it, children before what names them."""

    ref: ImageRef
    root: Manifest
    manifests: tuple[Manifest, ...]
    blobs: Mapping[NamedDigest, Section]


def images_in(bundle: Bundle, to: str | None) -> list[Image]:
    """The tagged images, below the repository `to` if there is one. Raises: Refused; DigestMismatch; BadName."""
    listed = bundle.index().manifests or []
    referrers: dict[str, list[Descriptor]] = {}
    for one in listed:
        manifest = bundle.manifest(one)
        subject = manifest.content.subject if manifest else None
        if subject is not None:
            referrers.setdefault(subject.digest, []).append(one)
    found = [
        _image(bundle, renamed(one.annotations[REF_NAME], to), one, referrers)
        for one in listed
        if one.annotations and REF_NAME in one.annotations
    ]
    if not found:
        raise Refused(f"no image in {bundle.file.name} has a name", why="nothing would be tagged")
    return found


def renamed(text: str, to: str | None) -> ImageRef:
    """The image called `text` in a layout, below `to`. Other tools write the tag alone; then `to` is its repository.

    Raises: BadName; UsageError, if nobody says a repository.
    """
    if ":" not in text and registry.is_tag(text):
        if to is None:
            raise UsageError(f"the image {text!r} is of no repository", advice="--to NAME says which")
        return ImageRef(registry.repository_name(to), text)
    ref = registry.parse_image(text)
    return ref if to is None else ImageRef(registry.repository_name(f"{to}/{ref.name}"), ref.tag)


def _image(bundle: Bundle, ref: ImageRef, top: Descriptor, referrers: Mapping[str, list[Descriptor]]) -> Image:
    root = bundle.manifest(top)
    if root is None:
        raise Refused(f"{bundle.file.name} names {ref}, and does not have it")
    ordered: dict[NamedDigest, Manifest] = {}
    blobs: dict[NamedDigest, Section] = {}
    entered: set[NamedDigest] = set()
    waiting: list[tuple[Manifest, bool]] = [(root, False)]
    while waiting:
        one, is_second = waiting.pop()
        if is_second:
            ordered[one.digest] = one
            continue
        if one.digest in entered:
            continue
        entered.add(one.digest)
        content = one.content
        blobs |= _blobs(bundle, content)
        below = [bundle.manifest(child) for child in content.manifests or []]
        beside = [bundle.manifest(other) for other in referrers.get(str(one.digest), [])]
        waiting += [(found, False) for found in beside if found]
        waiting.append((one, True))
        waiting += [(found, False) for found in below if found]
    return Image(ref, root, tuple(ordered.values()), blobs)


def _blobs(bundle: Bundle, content: Content) -> Iterator[tuple[NamedDigest, Section]]:
    for one in content.blobs:
        section = bundle.section(blob_path(one.named))
        if section is not None:
            yield one.named, section
        elif not one.is_elsewhere:
            raise Refused(f"{bundle.file.name} lacks {one.digest}", why="a manifest in it names these bytes")


@dataclass(frozen=True, slots=True)
class Loaded:
    """An image that is there now. `sent` and `saved` bytes: what moved, and what the server had already."""

    ref: str
    digest: str
    sent: int
    saved: int


def load(images: list[Image], watcher: Watcher, jobs: int) -> Flow[list[Loaded]]:
    """All images, one after another: blobs, manifests, and last the tag.

    Raises: Denied; DigestMismatch; LimitReached; Conflict, for a tag that never moves.
    """
    meter = Meter(watcher, phase="upload", total=sum(map(_size, images)))
    loaded: list[Loaded] = []
    yield from each((_load(image, meter, jobs) for image in images), 1, loaded.append)
    return loaded


def _size(image: Image) -> int:
    return sum(blob.size for blob in image.blobs.values()) + sum(len(one.data) for one in image.manifests)


def _load(image: Image, meter: Meter, jobs: int) -> Flow[Loaded]:
    counts: list[int] = []
    flows = (_blob(image.ref.name, digest, blob, meter) for digest, blob in image.blobs.items())
    yield from each(flows, jobs, counts.append)
    yield from each((_manifest(image.ref.name, one, meter) for one in image.manifests), 1, counts.append)
    yield from registry.push_manifest(image.ref.name, image.ref.tag, image.root)
    sent = sum(counts)
    return Loaded(str(image.ref), str(image.root.digest), sent, _size(image) - sent)


def _blob(name: str, digest: NamedDigest, blob: Section, meter: Meter) -> Flow[int]:
    if (yield from registry.has(name, "blobs", str(digest))) is not None:
        meter.skip("upload", blob.size)
        return 0
    yield from work(lambda: _verify(digest, blob))
    sent = yield from registry.push_blob(name, digest, blob, meter.moved("upload"))
    meter.skip("upload", max(0, blob.size - sent))
    return sent


def _verify(digest: NamedDigest, blob: Section) -> None:
    hashed = hashlib.new(digest.algorithm.value)
    for piece in pieces(blob, Step(0, blob.size)):
        hashed.update(piece)
    blob.check()
    if hashed.hexdigest() != digest.hex:
        raise DigestMismatch(f"{blob.name} is not what its name says", why="the bundle is damaged")


def _manifest(name: str, one: Manifest, meter: Meter) -> Flow[int]:
    is_sent = yield from registry.push_manifest(name, str(one.digest), one)
    if is_sent:
        meter.moved("upload")(len(one.data))
    else:
        meter.skip("upload", len(one.data))
    return len(one.data) if is_sent else 0
