"""The OCI distribution protocol as far as this client speaks it: each call is a small flow."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlencode

from entrepot.client.answers import decoded
from entrepot.client.api import BASE, PAGE_ITEMS
from entrepot.client.flow import Flow, Reply, Request, send, work
from entrepot.client.layout import Content, Descriptor, content_of
from entrepot.client.localfile import Source
from entrepot.client.plan import PART_BYTES, Step
from entrepot.errors import BadName, BadRange, DigestMismatch, NotFound, Refused, Unavailable
from entrepot.model import NamedDigest
from entrepot.shapes import RepositoryPage

_PART: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME: Final = re.compile(rf"{_PART}(?:/{_PART})*\Z")
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\Z")
_NEXT: Final = re.compile(r'<(/[^>]*)>; *rel="?next"?')
_OCTETS: Final = {"Content-Type": "application/octet-stream"}
_TRIES: Final = 3


@dataclass(frozen=True, slots=True, order=True)
class ImageRef:
    """`NAME:TAG` of a repository on the server."""

    name: str
    tag: str

    def __str__(self) -> str:
        return f"{self.name}:{self.tag}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image manifest or index: its exact bytes, verified."""

    digest: NamedDigest
    media_type: str
    data: bytes

    @property
    def content(self) -> Content:
        """What it names. Raises: Refused."""
        return content_of(self.data, str(self.digest))

    @property
    def descriptor(self) -> Descriptor:
        """What points to it."""
        return Descriptor(self.media_type, str(self.digest), len(self.data))


def parse_image(text: str) -> ImageRef:
    """`NAME[:TAG]`, the tag `latest` if there is none. Raises: BadName."""
    name, colon, tag = text.partition(":")
    if colon and not _TAG.match(tag):
        raise BadName(f"not an image: {text!r}", why=f"{tag!r} is no tag", advice="write NAME or NAME:TAG")
    return ImageRef(repository_name(name), tag or "latest")


def repository_name(text: str) -> str:
    """`text`, if a repository can be called so. Raises: BadName."""
    if not _NAME.match(text) or len(text) > 255:
        raise BadName(
            f"not a repository: {text!r}", why="lower-case letters, digits and ._- between slashes make its name"
        )
    return text


def is_tag(text: str) -> bool:
    """Whether a tag can be called so."""
    return bool(_TAG.match(text))


def public_repositories() -> Flow[list[str]]:
    """The repositories that everybody may read."""
    names: list[str] = []
    after: str | None = ""
    while after is not None:
        words = urlencode({"after": after, "limit": PAGE_ITEMS})
        request = Request("GET", f"{BASE}/repositories?{words}", "public repositories", anonymous=True)
        page = decoded((yield from send(request)), RepositoryPage)
        names += map(repository_name, page.repositories)
        after = page.next
    return names


def manifest(name: str, reference: str) -> Flow[Manifest]:
    """The manifest of a tag or digest. Raises: NotFound; DigestMismatch, if it is not the one its digest says."""
    reply = yield from send(Request("GET", f"/v2/{name}/manifests/{reference}", f"manifest {name}:{reference}"))
    data = bytes(reply.body)
    said = reference if ":" in reference else reply.headers.get("docker-content-digest", "")
    digest = NamedDigest.parse(said or f"sha256:{hashlib.sha256(data).hexdigest()}")
    check_digest(data, digest, f"the manifest {name}:{reference}")
    return Manifest(digest, reply.headers.get("content-type", ""), data)


def check_digest(data: bytes, digest: NamedDigest, name: str) -> None:
    """Nothing. Raises: DigestMismatch."""
    found = hashlib.new(digest.algorithm.value, data).hexdigest()
    if found != digest.hex:
        raise DigestMismatch(
            f"{name} has {digest.algorithm.value}:{found}, it should have {digest}",
            why="the bytes are damaged, or changed on their way",
        )


def referrers(name: str, digest: NamedDigest) -> Flow[list[NamedDigest]]:
    """The manifests that have `digest` as their subject: signatures, bills of materials."""
    found: list[NamedDigest] = []
    url: str | None = f"/v2/{name}/referrers/{digest}"
    while url:
        reply = yield from send(Request("GET", url, f"referrers of {name}@{digest}"))
        found += [one.named for one in decoded(reply, Content).manifests or []]
        following = _NEXT.match(reply.headers.get("link", ""))
        url = following[1] if following else None
    return found


def has(name: str, kind: str, reference: str) -> Flow[Reply | None]:
    """The headers of a blob (`kind` `blobs`) or manifest (`manifests`), None if it is not there."""
    try:
        return (yield from send(Request("HEAD", f"/v2/{name}/{kind}/{reference}", f"{name} {reference}")))
    except NotFound:
        return None


def push_manifest(name: str, reference: str, one: Manifest) -> Flow[bool]:
    """Whether it had to be sent. Raises: Denied; Conflict, for a tag that never moves; UsageError."""
    there = yield from has(name, "manifests", reference)
    if there is not None and there.headers.get("docker-content-digest") == str(one.digest):
        return False
    url = f"/v2/{name}/manifests/{reference}"
    yield from send(Request("PUT", url, f"manifest {name}:{reference}", {"Content-Type": one.media_type}, one.data))
    return True


def push_blob(name: str, digest: NamedDigest, source: Source, moved: Callable[[int], None]) -> Flow[int]:
    """How many bytes had to be sent: none that the server can take from another place this caller may read.

    What an earlier run sent of it is not sent again. Raises: Denied; LimitReached; DigestMismatch.
    """
    if (yield from has(name, "blobs", str(digest))) is not None:
        return 0
    url = f"/v2/{name}/blobs/uploads/?digest={quote(str(digest))}"
    opened = yield from send(Request("POST", url, f"upload of {digest}", _OCTETS, b""))
    if opened.status == HTTPStatus.CREATED:
        return 0
    upload = _Upload(name, digest, opened.headers.get("location", ""), source, moved)
    return (yield from upload.send(_offset(opened)))


@dataclass(frozen=True, slots=True)
class _Upload:
    """An open upload of one blob; `url` is the right to it."""

    name: str
    digest: NamedDigest
    url: str
    source: Source
    moved: Callable[[int], None]

    def send(self, offset: int) -> Flow[int]:
        """How many bytes went, from `offset` on. Where the server stands elsewhere, it says so, and we go there."""
        sent = tries = 0
        while True:
            step = Step(offset, min(offset + PART_BYTES, self.source.size))
            if step.start > step.stop:
                raise Refused(f"the server has more of {self.digest} than there is")
            try:
                reply = yield from self._part(step)
            except BadRange:
                tries += 1
                if tries == _TRIES:
                    raise Unavailable(f"the upload of {self.digest} does not go on", advice="run it again") from None
                offset = _offset((yield from send(Request("GET", self.url, f"state of {self.digest}"))))
                continue
            sent += step.stop - step.start
            if reply is None:
                return sent
            offset = _offset(reply)
            if offset <= step.start:
                raise Refused("the server took a part and is no further", why="it is wrong about this upload")

    def _part(self, step: Step) -> Flow[Reply | None]:
        """The answer to one part; None behind the last, which closes the upload."""
        body = yield from work(lambda: self.source.read(step))
        headers = dict(_OCTETS)
        if body:
            headers["Content-Range"] = f"{step.start}-{step.stop - 1}"
        name = f"part of {self.digest} at {step.start}"
        if step.stop < self.source.size:
            return (yield from send(Request("PATCH", self.url, name, headers, body, moved=self.moved)))
        mark = "&" if "?" in self.url else "?"
        url = f"{self.url}{mark}digest={quote(str(self.digest))}"
        try:
            yield from send(Request("PUT", url, name, headers, body, moved=self.moved))
        except NotFound:
            # the answer to an earlier try may have been lost: then the blob is there
            if (yield from has(self.name, "blobs", str(self.digest))) is None:
                raise
        return None


def _offset(reply: Reply) -> int:
    """How far the server is. Raises: Refused."""
    said = reply.headers.get("upload-offset", "")
    if not said.isdigit():
        raise Refused("the server does not say how far an upload is", advice="is it an entrepot? entrepot config show")
    return int(said)
