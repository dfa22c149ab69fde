"""Bytes of an object or a blob to this machine: ranges side by side, hashed in order, verified before they appear."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from entrepot.client import api
from entrepot.client.flow import Flow, Reply, each, work
from entrepot.client.localfile import LocalFile, check_target, hash_all
from entrepot.client.part import PartFile, Sink, StreamSink
from entrepot.client.plan import HASH_FIRST_BYTES, Step, split
from entrepot.client.progress import Meter
from entrepot.client.reference import BlobRef, ObjectRef, RepositoryBytes
from entrepot.client.results import Pulled
from entrepot.errors import Conflict, DigestMismatch, EntrepotError, UsageError

AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Found:
    """Bytes on the server, before they are fetched."""

    ref: ObjectRef | BlobRef | RepositoryBytes
    digest: str
    size: int

    @property
    def algorithm(self) -> str:
        """The one of its digest."""
        return self.digest.partition(":")[0]

    @property
    def file_name(self) -> str:
        """What its file is called, if nobody says otherwise."""
        return self.ref.last if isinstance(self.ref, ObjectRef) else self.ref.digest.hex


def find(ref: ObjectRef | BlobRef) -> Flow[Found]:
    """Digest and size of `ref`. Raises: NotFound; UsageError, for a prefix."""
    if isinstance(ref, BlobRef):
        reply = yield from api.head(ref)
        return Found(ref, str(ref.digest), int(reply.headers.get("content-length", "0")))
    if ref.is_prefix:
        raise UsageError(f"{ref} means all below it", why="one object is needed here")
    shape = yield from api.inspect(ref)
    return Found(ref, shape.digest, shape.size)


def pull_file(
    found: Found, target: str, meter: Meter, at_once: int = AT_ONCE, *, durable: bool = False
) -> Flow[Pulled]:
    """`found` as the file `target`, which appears when it is verified. What an earlier pull left is continued.

    `durable`: it outlasts a loss of power.
    Raises: DigestMismatch; DiskFull; Denied; NotFound; UsageError, if no file can appear there; Busy, if another pull
    writes it.
    """
    yield from work(lambda: check_target(target))
    if (yield from work(lambda: _is_there(found, target, meter))):
        return Pulled(str(found.ref), target, found.digest, found.size, 0, found.size)
    part = yield from work(lambda: PartFile.open(target, found.algorithm))
    try:
        saved = yield from _fill(found, part, meter, at_once)
        yield from work(lambda: part.appear(durable=durable))
    finally:
        part.close()
    return Pulled(str(found.ref), target, found.digest, found.size, found.size - saved, saved)


def _fill(found: Found, part: PartFile, meter: Meter, at_once: int) -> Flow[int]:
    meter.begin("verify", found.size)
    saved = yield from work(lambda: part.resume(found.size, meter.moved("verify")))
    meter.begin("download", found.size)
    meter.skip("download", saved)
    yield from fetch(found, part, meter, at_once)
    if saved and f"{found.algorithm}:{part.digest_hex()}" != found.digest:
        # what was here belonged to other bytes
        yield from work(part.restart)
        saved = 0
        meter.begin("download", found.size)
        yield from fetch(found, part, meter, at_once)
    try:
        check(found, part)
    except DigestMismatch:
        part.drop()
        raise
    return saved


def pull_stream(found: Found, descriptor: int, meter: Meter, at_once: int = AT_ONCE) -> Flow[Pulled]:
    """`found` into an open descriptor. Raises: DigestMismatch, when the bytes are out already."""
    sink = StreamSink(descriptor)
    meter.begin("download", found.size)
    yield from fetch(found, sink, meter, at_once)
    check(found, sink)
    return Pulled(str(found.ref), None, found.digest, found.size, found.size, 0)


def fetch(found: Found, sink: Sink, meter: Meter, at_once: int) -> Flow[None]:
    """All bytes `sink` has not yet."""
    many = at_once if found.size >= HASH_FIRST_BYTES else 1
    steps = split(sink.written, found.size)
    yield from each(_ranges(found, steps, meter), many, lambda reply: sink.write(reply.body))


def _ranges(found: Found, steps: Iterator[Step], meter: Meter) -> Iterator[Flow[Reply]]:
    return (_range(found, step, meter) for step in steps)


def _range(found: Found, step: Step, meter: Meter) -> Flow[Reply]:
    url = api.url_of(found.ref)
    reply = yield from api.get_range(url, step, found.size, str(found.ref), meter.moved("download"))
    if found.algorithm == "sha256" and api.digest_in(reply) not in (None, found.digest):
        raise Conflict(
            f"{found.ref} became another while it was pulled",
            why="it was overwritten",
            advice="run the same command again",
        )
    return reply


def check(found: Found, sink: Sink) -> None:
    """Nothing. Raises: DigestMismatch, if what came is not what was asked for."""
    digest = f"{found.algorithm}:{sink.digest_hex()}"
    if digest != found.digest:
        raise DigestMismatch(
            f"{found.ref} came as {digest}, it should be {found.digest}",
            why="the bytes changed on their way",
            advice="run the same command again; nothing of it was kept",
        )


def _is_there(found: Found, target: str, meter: Meter) -> bool:
    """True if the file has these bytes already."""
    try:
        if os.stat(target).st_size != found.size:
            return False
        file = LocalFile.open(target)
    except (OSError, EntrepotError):
        return False
    try:
        meter.begin("verify", found.size)
        return f"sha256:{hash_all(file, meter.moved('verify'))}" == found.digest
    except DigestMismatch:
        return False
    finally:
        file.close()
