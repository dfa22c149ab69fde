"""What a transfer gives back, frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Pushed:
    """An object that is now there. `sent` and `saved` bytes: what moved, and what the server had already.

    `urls`: the same bytes through other protocols, by name (`http`, `s3`).
    """

    ref: str
    digest: str
    size: int
    sent: int
    saved: int
    type: str = "application/octet-stream"
    urls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pulled:
    """A verified file. `received` and `saved` bytes: what moved, and what was here already. `path` None: a stream."""

    ref: str
    path: str | None
    digest: str
    size: int
    received: int
    saved: int
