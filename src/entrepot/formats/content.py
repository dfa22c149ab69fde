"""What bytes are and what a header in them says, read once and kept with their digest."""

from dataclasses import dataclass
from typing import Any

from entrepot.formats import sif, sniff
from entrepot.formats.sif import Read, Sif


@dataclass(frozen=True, slots=True)
class Content:
    """The media type that bytes show, None for what could be anything; of a SIF, its header."""

    media_type: str | None
    sif: Sif | None = None


def content_of(read: Read, size: int) -> Content:
    """What `size` bytes are; at most 3.7 MiB of them are read, 34 KiB of most."""
    found = sif.parse(read, size)
    if found:
        return Content(sniff.SIF, found)
    media_type = sniff.media_type(read, size)
    return Content(None if media_type == sniff.SIF else media_type)  # a SIF that cannot be read is any file


def as_json(content: Content) -> dict[str, Any]:
    """What of it no column keeps."""
    return {"sif": sif.as_json(content.sif)} if content.sif else {}


def from_json(media_type: str | None, facts: dict[str, Any]) -> Content:
    """What `as_json` gave, and its type."""
    return Content(media_type, sif.from_json(facts["sif"]) if "sif" in facts else None)
