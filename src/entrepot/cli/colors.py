"""Whether a stream gets colour."""

import os
from collections.abc import Mapping
from typing import TextIO


def has_color(flags: Mapping[str, str], stream: TextIO) -> bool:
    """As `--color` says, else `NO_COLOR`, `CLICOLOR_FORCE`, else if it is a terminal. Source: no-color.org."""
    told = flags.get("color") or os.environ.get("ENTREPOT_COLOR") or "auto"
    if told != "auto":
        return told == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("CLICOLOR_FORCE", "0") not in ("", "0"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"
