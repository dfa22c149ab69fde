"""Bytes that come once, from a pipe, to an object."""

import hashlib
from collections.abc import Callable, Iterator

from entrepot.client import api
from entrepot.client.flow import Flow, each, work
from entrepot.client.localfile import MemorySource
from entrepot.client.plan import PART_BYTES, Step, split
from entrepot.client.progress import Meter
from entrepot.client.push import PushOptions, push_source, pushed, upload_request
from entrepot.client.reference import ObjectRef
from entrepot.client.results import Pushed
from entrepot.client.sending import ignore, send_part
from entrepot.errors import DigestMismatch, NotFound, Refused
from entrepot.shapes import UploadShape


def push_stream(read: Callable[[int], bytes], to: ObjectRef, options: PushOptions, meter: Meter) -> Flow[Pushed]:
    """Bytes that can be read once, by `read(most)`: short ones as a file, others part by part as they come.

    Raises: as `push_file`. A broken push of a long stream begins again at zero.
    """
    first = yield from work(lambda: read_full(read, PART_BYTES))
    if len(first) < PART_BYTES:
        return (yield from push_source(MemorySource("standard input", first), to, options, meter))
    upload = yield from _open(to, options)
    meter.begin("upload", None)
    stream = Stream(read, first, max(1, min(upload.part_size, PART_BYTES)), upload, meter)
    yield from each(stream.parts(), options.at_once, ignore)
    digest_hex = stream.whole.hexdigest()
    if options.sha256 and digest_hex != options.sha256:
        raise DigestMismatch(f"the stream was sha256:{digest_hex}, you gave sha256:{options.sha256}")
    meter.begin("commit", stream.size)
    made = yield from api.commit(upload, to, stream.size, digest_hex)
    api.expect_digest(made.digest, f"sha256:{digest_hex}", "the stream")
    return pushed(to, made, sent=stream.size)


class Stream:
    """A stream cut into parts; `size` and `whole` count what was read so far."""

    def __init__(
        self, read: Callable[[int], bytes], first: bytes, part_size: int, upload: UploadShape, meter: Meter
    ) -> None:
        self._read = read
        self._first = first
        self._part_size = part_size
        self._upload = upload
        self._moved = meter.moved("upload")
        self.whole = hashlib.sha256()
        self.size = 0

    def parts(self) -> Iterator[Flow[None]]:
        """A flow for each part, in order, the next one read when it is asked for."""
        chunk: bytes = self._first
        self._first = b""
        while chunk:
            for step in split(0, len(chunk), self._part_size):
                yield self._part(memoryview(chunk)[step.start : step.stop])
            chunk = read_full(self._read, self._part_size)

    def _part(self, buffer: memoryview) -> Flow[None]:
        step = Step(self.size, self.size + len(buffer))
        self.whole.update(buffer)
        self.size = step.stop
        return send_part(self._upload, step, buffer, self._moved)


def _open(to: ObjectRef, options: PushOptions) -> Flow[UploadShape]:
    request = upload_request(None, to, options)
    try:
        opened = yield from api.open_upload(request)
    except NotFound:
        if not options.make_bucket:
            raise
        yield from api.make_bucket(to.place)
        opened = yield from api.open_upload(request)
    if isinstance(opened, UploadShape):
        return opened
    raise Refused("the server opened no upload", why="it answered to something else")


def read_full(read: Callable[[int], bytes], size: int) -> bytes:
    """`size` bytes, fewer only at the end."""
    buffer = bytearray()
    while len(buffer) < size and (piece := read(size - len(buffer))):
        buffer += piece
    return bytes(buffer)
