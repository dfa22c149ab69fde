"""Bytes to an object: asked first, sent only if nobody has them, continued where an earlier run stopped."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from entrepot.client import api
from entrepot.client.flow import Flow, each, work
from entrepot.client.localfile import LocalFile, Source, edges, hash_all
from entrepot.client.plan import HASH_FIRST_BYTES, ONE_REQUEST_BYTES, Step
from entrepot.client.progress import Meter
from entrepot.client.reference import ObjectRef
from entrepot.client.results import Pushed
from entrepot.client.sending import Sending, ignore
from entrepot.errors import DigestMismatch, NotFound
from entrepot.shapes import Committed, ObjectShape, UploadRequest, UploadShape

AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class PushOptions:
    """How to push. `sha256`: what the caller says the bytes are, in hex; `expires` as `14d`; `type` of the bytes.

    `make_bucket`: if it is missing and we may. `at_once`: parts side by side.
    """

    sha256: str | None = None
    expires: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    type: str | None = None
    if_absent: bool = False
    make_bucket: bool = False
    at_once: int = AT_ONCE


def push_file(path: str, to: ObjectRef, options: PushOptions, meter: Meter) -> Flow[Pushed]:
    """The file at `path` as the object `to`.

    Raises: NotFound; Denied; Conflict; LimitReached; DigestMismatch, if it changed while it was read.
    """
    file = yield from work(lambda: LocalFile.open(path))
    try:
        return (yield from push_source(file, to, options, meter))
    finally:
        file.close()


def push_source(source: Source, to: ObjectRef, options: PushOptions, meter: Meter) -> Flow[Pushed]:
    """The bytes of `source` as the object `to`, its bucket made if that is wanted. Raises: as `push_file`."""
    try:
        return (yield from _push(source, to, options, meter))
    except NotFound as error:
        if not options.make_bucket:
            error.advice = error.advice or "push --make-bucket, if it is the bucket that is missing"
            raise
    yield from api.make_bucket(to.place)
    return (yield from _push(source, to, options, meter))


def _push(source: Source, to: ObjectRef, options: PushOptions, meter: Meter) -> Flow[Pushed]:
    if source.size <= ONE_REQUEST_BYTES and not options.labels:
        return (yield from _put(source, to, options, meter))
    claim: str | None = None
    if source.size <= HASH_FIRST_BYTES or options.sha256:
        claim = yield from _hashed(source, options, meter)
    edges_hex = (yield from work(lambda: edges(source))) if source.size >= HASH_FIRST_BYTES else None
    opened = yield from api.open_upload(upload_request(source.size, to, options, claim, edges_hex))
    if isinstance(opened, UploadShape) and opened.maybe and claim is None:
        claim = yield from _hashed(source, options, meter)
        opened = yield from api.open_upload(upload_request(source.size, to, options, claim, edges_hex))
    if isinstance(opened, Committed):
        meter.begin("upload", source.size)
        meter.skip("upload", source.size)
        return pushed(to, opened.object, sent=0)
    return (yield from _send(source, to, opened, claim, options, meter))


def upload_request(
    size: int | None, to: ObjectRef, options: PushOptions, claim: str | None = None, edges_hex: str | None = None
) -> UploadRequest:
    """What is said of the bytes before they are sent. The same words again find the same upload."""
    return UploadRequest(
        str(to),
        size,
        claim,
        edges_hex,
        options.type,
        dict(options.labels),
        options.expires,
        options.if_absent,
    )


def _hashed(source: Source, options: PushOptions, meter: Meter) -> Flow[str]:
    meter.begin("hash", source.size)
    digest_hex = yield from work(lambda: hash_all(source, meter.moved("hash")))
    if options.sha256 and digest_hex != options.sha256:
        raise DigestMismatch(
            f"{source.name} is sha256:{digest_hex}, you gave sha256:{options.sha256}",
            why="the file is not the one that was meant, or changed",
            advice="nothing was sent",
        )
    return digest_hex


def _put(source: Source, to: ObjectRef, options: PushOptions, meter: Meter) -> Flow[Pushed]:
    digest_hex = yield from _hashed(source, options, meter)
    body = yield from work(lambda: source.read(Step(0, source.size)))
    if hashlib.sha256(body).hexdigest() != digest_hex:
        raise changed(source.name)
    meter.begin("upload", source.size)
    moved = meter.moved("upload")
    answer = yield from api.put_object(to, body, options.type, options.expires, moved, absent=options.if_absent)
    digest = f"sha256:{digest_hex}"
    api.expect_digest(f"sha256:{answer.sha256.removeprefix('sha256:')}", digest, source.name)
    return Pushed(str(to), digest, source.size, source.size, 0, options.type or "application/octet-stream")


def _send(
    source: Source, to: ObjectRef, upload: UploadShape, claim: str | None, options: PushOptions, meter: Meter
) -> Flow[Pushed]:
    meter.begin("upload", source.size)
    sending = Sending(source, upload, meter)
    yield from each(sending.parts(), options.at_once, ignore)
    yield from work(source.check)
    digest_hex = sending.digest_hex()
    if claim is not None and digest_hex != claim:
        raise changed(source.name)
    meter.begin("commit", source.size)
    made = yield from api.commit(upload, to, source.size, digest_hex)
    api.expect_digest(made.digest, f"sha256:{digest_hex}", source.name)
    meter.moved("commit")(source.size)
    return pushed(to, made, sent=sending.sent)


def pushed(to: ObjectRef, made: ObjectShape, sent: int) -> Pushed:
    """The result: the name as the caller wrote it, the rest as the server says it."""
    return Pushed(str(to), made.digest, made.size, sent, max(0, made.size - sent), made.type)


def changed(name: str) -> DigestMismatch:
    """What to say of a file that has other bytes than a moment before."""
    return DigestMismatch(
        f"{name} is not what it was when the upload began",
        why="the file changed while it was read",
        advice="run the same command again when nobody writes it",
    )
