"""The parts of one upload: read once, hashed, and sent only where the server lacks them."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from entrepot.client import api
from entrepot.client.flow import Buffer, Flow
from entrepot.client.localfile import Source, pieces
from entrepot.client.plan import PART_BYTES, Step, split, steps
from entrepot.client.progress import Meter
from entrepot.errors import DigestMismatch
from entrepot.shapes import UploadShape

_PART_TRIES: Final = 3


class Sending:
    """One pass over a source: each byte is hashed once for the whole, and sent only where the server lacks it."""

    def __init__(self, source: Source, upload: UploadShape, meter: Meter) -> None:
        self._source = source
        self._upload = upload
        self._meter = meter
        self._whole = hashlib.sha256()
        self.sent = 0

    def parts(self) -> Iterator[Flow[None]]:
        """A flow for each part that must be sent, in order. The memory of one part each."""
        part_size = max(1, min(self._upload.part_size, PART_BYTES))
        for step in steps(self._source.size, part_size, self._upload.have):
            if step.sha256 is None:
                buffer = self._source.read(step)
                self._whole.update(buffer)
                yield self._part(step, buffer)
            elif self._is_same(step):
                self._meter.skip("upload", step.stop - step.start)
            else:
                yield from (
                    self._part(part, self._source.read(part)) for part in split(step.start, step.stop, part_size)
                )

    def digest_hex(self) -> str:
        """The sha256 of all that was read."""
        return self._whole.hexdigest()

    def _is_same(self, step: Step) -> bool:
        hashed = hashlib.sha256()
        for piece in pieces(self._source, step):
            hashed.update(piece)
            self._whole.update(piece)
        return hashed.hexdigest() == step.sha256

    def _part(self, step: Step, buffer: Buffer) -> Flow[None]:
        self.sent += step.stop - step.start
        return send_part(self._upload, step, buffer, self._meter.moved("upload"))


def send_part(upload: UploadShape, step: Step, buffer: Buffer, moved: Callable[[int], None]) -> Flow[None]:
    """Nothing; the part is there. One that arrives changed is sent again. Raises: DigestMismatch, the third time."""
    for _ in range(_PART_TRIES - 1):
        with suppress(DigestMismatch):
            return (yield from api.put_part(upload, step, buffer, moved))
    return (yield from api.put_part(upload, step, buffer, moved))


def ignore(result: None) -> None:
    """Take a part's result: there is none."""
