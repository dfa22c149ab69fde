"""Receive, verify, keep and open blobs. It knows bytes and digests; names, and which blobs exist, are the catalog's.

Whatever was promised, the sha256 is always computed here, while the bytes arrive, in worker threads. At most
`inline_bytes` long, they need no file: they travel in the commit that names them.
"""

import asyncio
import errno
import hashlib
import os
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, ParamSpec, Protocol, TypeVar

from entrepot.errors import BadRequest, BodyCut, DigestMismatch, DiskFull, NotFound
from entrepot.failpoints import failpoint
from entrepot.formats.content import Content, content_of
from entrepot.gate import Gate
from entrepot.model import Algorithm, Blob, Body, Claims, Clock, Digest, FileSpan, Instant, Piece, Span
from entrepot.storage.assembly import Assembly
from entrepot.storage.driver import Driver, Staging
from entrepot.storage.hashing import Checksums, Hash, checksums_of, new_hash

P = ParamSpec("P")
T = TypeVar("T")

EDGE_BYTES: Final = 1 << 20
HOP_BYTES: Final = 64 << 20
"""The most that is hashed in one go."""
EDGED_FROM: Final = 64 << 20
"""Blobs at least this long keep a checksum of their edges: worth asking for before the whole is hashed."""
DAY: Final = 86400.0


_generations: Final = random.Random()  # noqa: S311 no secret


class Reservation(Protocol):
    """Room kept for bytes on their way in."""

    async def cover(self, size: int) -> str:
        """The id to stage under, once there is room for `size` bytes in all. Raises: QuotaExceeded."""
        ...


@dataclass(frozen=True, slots=True)
class Received:
    """Verified bytes, safe on disk or in memory, that no name points to yet."""

    blob: Blob
    edges: str | None = None
    content: Content | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, durations in seconds. The reserve is the larger of bytes and share of the disk."""

    inline_bytes: int = 16 << 10
    uploads: int = 64
    """How many bodies longer than that are taken in at a time."""
    reserve_bytes: int = 1 << 30
    reserve_share: float = 0.02
    verify_reads_seconds: float = 7 * DAY


class BlobStore:
    """Blobs over one driver. Blocking work runs in its own threads."""

    def __init__(self, driver: Driver, now: Clock, limits: Limits | None = None, *, threads: int = 16) -> None:
        self.driver = driver
        self.limits = limits or Limits()
        self._now = now
        self._threads = ThreadPoolExecutor(threads, "bytes")
        self._hashers = ThreadPoolExecutor((os.cpu_count() or 1) + 1, "hash")
        self.uploading = Gate(self.limits.uploads, "uploads")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work` gives, done in a worker thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*args, **kwargs))

    async def run_hash(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `run`, for work that keeps a core busy: no more of it at once than there are cores, so that the event
        loop is never one of many waiting for one.
        """
        return await asyncio.get_running_loop().run_in_executor(self._hashers, lambda: work(*args, **kwargs))

    def close(self) -> None:
        """Wait for the threads."""
        self._threads.shutdown()
        self._hashers.shutdown()

    async def receive(
        self, body: Body, claims: Claims, want: frozenset[Algorithm], reservation: Reservation
    ) -> Received:
        """The bytes of `body`, verified against every claim, under a key of their own. No body is ever held whole.

        Raises: DigestMismatch; BodyCut; BadRequest for a body longer than claimed; QuotaExceeded; DiskFull; Busy.
        Nothing is kept then.
        """
        head, size, ended = await self._head(body, claims.size)
        self.check_room(claims.size or size)
        if ended:
            return Received(self._inline(head, claims, want))
        async with self.uploading:
            staging = await self.run(self.driver.stage, await reservation.cover(claims.size or size), claims.size)
            try:
                return await self._fill(staging, head, body, claims, want, reservation)
            except BaseException:
                await asyncio.shield(self.run(staging.discard))
                raise

    async def _head(self, body: Body, size: int | None) -> tuple[list[Piece], int, bool]:
        """Pieces of up to `inline_bytes` and what came with them, their length, and whether that is all."""
        head: list[Piece] = []
        total = 0
        if size is not None and size > self.limits.inline_bytes:
            return head, total, False
        async for pieces in body:
            head += pieces
            total += sum(map(len, pieces))
            if total > self.limits.inline_bytes:
                return head, total, False
        return head, total, True

    def _inline(self, head: Sequence[Piece], claims: Claims, want: frozenset[Algorithm]) -> Blob:
        data = b"".join(head)
        check_size(len(data), claims)
        sums = checksums_of(data, want | claims.checksums.keys())
        check_claims(sums, claims)
        digest = sums[Algorithm.SHA256]
        return Blob(Digest(digest), len(data), new_key(digest), sums, self._now(), inline=data)

    async def _fill(
        self,
        staging: Staging,
        head: Sequence[Piece],
        body: Body,
        claims: Claims,
        want: frozenset[Algorithm],
        reservation: Reservation,
    ) -> Received:
        sums = Checksums(want | claims.checksums.keys())
        size = await self.run_hash(take, staging, sums, 0, head)
        async for pieces in body:
            if claims.size is None:
                await reservation.cover(size + sum(map(len, pieces)))
                self.check_room(0)
            size += await self.run_hash(take, staging, sums, size, pieces)
        check_size(size, claims)
        return await self.run(self._settle, staging, size, sums.result(), claims, self._now())

    def _settle(
        self,
        staging: Staging,
        size: int,
        sums: Mapping[Algorithm, str],
        claims: Claims,
        verified_at: Instant,
        generation: str = "",
    ) -> Received:
        check_claims(sums, claims)
        failpoint("blob.verified")
        edges = edges_of(staging.read, size) if size >= EDGED_FROM else None
        content = content_of(staging.read, size)
        digest = sums[Algorithm.SHA256]
        key = f"{digest}.{generation}" if generation else new_key(digest)
        return Received(Blob(Digest(digest), size, key, sums, verified_at, staging.commit(key)), edges, content)

    def assemble(
        self, assembly: Assembly, size: int, claims: Claims, known: Mapping[Algorithm, str] | None = None
    ) -> Received:
        """The bytes of a resumed upload, verified and kept; `known` are other checksums of them. Blocks.

        Raises: BadRange if bytes are missing; DigestMismatch. The staging area is not touched then.
        """
        assembly.staging.cut(size)
        verified_at = 0.0 if assembly.resumed else self._now()
        sums = {Algorithm.SHA256: assembly.finish(size), **(known or {})}
        return self._settle(assembly.staging, size, sums, claims, verified_at, generation_of(assembly.staging.id))

    def is_full(self, size: int = 0) -> bool:
        """Whether `size` more bytes would eat into the reserve."""
        room = self.driver.room()
        return room.free - size < max(self.limits.reserve_bytes, int(room.total * self.limits.reserve_share))

    def check_room(self, size: int) -> None:
        """Raises: DiskFull if `size` more bytes would eat into the reserve."""
        if self.is_full(size):
            raise DiskFull("the server's disk is full", advice="try again later, or tell the operator")

    def open(self, blob: Blob, span: Span) -> tuple[FileSpan | bytes, bool]:
        """The bytes of `span`, and whether they must be hashed on their way out. Blocks for one `open` and `fstat`.

        Raises: BadRange; NotFound if the file is gone; DigestMismatch if its length is wrong.
        """
        span = span.within(blob.size)
        if blob.inline is not None:
            if hashlib.sha256(blob.inline).hexdigest() != blob.digest.hex:
                raise DigestMismatch("the stored bytes are wrong")
            return blob.inline[span.start : span.stop], False
        opened = self.driver.open(blob.key, span)
        if opened.stamp.size != blob.size:
            os.close(opened.descriptor)
            raise DigestMismatch("the stored file has another length")
        old = self._now() - blob.verified_at >= self.limits.verify_reads_seconds
        return opened, span.length == blob.size and (old or opened.stamp != blob.stamp)

    async def check(self, blob: Blob) -> bool:
        """Whether the stored bytes are the right ones, read whole."""
        try:
            found = await self.checksums(blob, Span(), frozenset())
        except NotFound:
            return False
        except OSError as error:
            if error.errno != errno.EIO:
                raise  # it says nothing of the bytes
            return False
        return found[Algorithm.SHA256] == blob.digest.hex

    async def checksums(self, blob: Blob, span: Span, want: frozenset[Algorithm]) -> Mapping[Algorithm, str]:
        """Those checksums of stored bytes, read a piece for each hop. Raises: NotFound if they are not there."""
        span = span.within(blob.size)
        sums = Checksums(want)
        if blob.inline is not None:
            sums.update(blob.inline[span.start : span.stop])
            return sums.result()
        opened = await self.run(self.driver.open, blob.key, span)
        try:
            for done in range(0, span.length, HOP_BYTES):
                length = min(HOP_BYTES, span.length - done)
                await self.run_hash(_hash_range, sums, opened.descriptor, span.start + done, length)
        finally:
            os.close(opened.descriptor)
        return sums.result()

    async def checksum_staged(self, staging: Staging, size: int, algorithm: Algorithm) -> str:
        """That checksum in hex of what is staged, read a piece for each hop."""
        running = new_hash(algorithm)
        for done in range(0, size, HOP_BYTES):
            await self.run_hash(_hash_staged, running, staging, done, min(size, done + HOP_BYTES))
        return running.hexdigest()

    async def unlink_loser(self, received: Received) -> None:
        """An equal blob was here first: our copy goes."""
        if received.blob.inline is None:
            failpoint("blob.loser_unlinking")
            await self.run(self.driver.delete, received.blob.key)


def generation_of(upload_id: str) -> str:
    """What ends the key of an upload's bytes: a process that dies before they are named finds them again by it."""
    return upload_id.partition(".")[0][-8:]


def new_key(digest_hex: str) -> str:
    """A key no bytes ever lay under: digest and generation."""
    return f"{digest_hex}.{_generations.getrandbits(32):08x}"


def edges_of(read: Callable[[int, int], bytes], size: int) -> str:
    """The sha256 in hex of the first and the last MiB."""
    running = hashlib.sha256(read(0, EDGE_BYTES))
    running.update(read(max(0, size - EDGE_BYTES), EDGE_BYTES))
    return running.hexdigest()


def check_size(size: int, claims: Claims) -> None:
    """Raises: BodyCut, BadRequest if that is not the claimed size."""
    if claims.size is not None and size < claims.size:
        raise BodyCut(f"the body ended after {size} of {claims.size} bytes")
    if claims.size is not None and size > claims.size:
        raise BadRequest(f"the body is longer than the {claims.size} bytes that were announced")


def check_claims(sums: Mapping[Algorithm, str], claims: Claims) -> None:
    """Raises: DigestMismatch if a claimed checksum is not that of the bytes."""
    for algorithm, claimed in claims.checksums.items():
        if algorithm in sums and sums[algorithm] != claimed:
            raise DigestMismatch(
                f"the {algorithm.value} of the bytes is {sums[algorithm]}, you gave {claimed}",
                why="they changed on the way, or the checksum is of other bytes",
                algorithm=algorithm.value,
                found=sums[algorithm],
                claimed=claimed,
            )


def _hash_range(sums: Checksums, descriptor: int, start: int, length: int) -> None:
    for offset in range(start, start + length, 1 << 20):
        wanted = min(1 << 20, start + length - offset)
        piece = os.pread(descriptor, wanted, offset)
        if len(piece) != wanted:
            raise NotFound("the stored file is shorter than it was")
        sums.update(piece)


def _hash_staged(running: Hash, staging: Staging, start: int, stop: int) -> None:
    for offset in range(start, stop, 1 << 20):
        running.update(staging.read(offset, min(1 << 20, stop - offset)))


def take(staging: Staging, sums: Checksums, offset: int, pieces: Sequence[Piece]) -> int:
    """How many bytes were hashed and written at `offset`. Raises: DiskFull."""
    for piece in pieces:
        sums.update(piece)
    return staging.write(offset, pieces) if pieces else 0
