"""Sizes, digests and times as people read them, for lines on stderr and errors."""

import pwd


def shown_size(size: int) -> str:
    """`3.9 GiB`; below a KiB the bytes."""
    amount, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{size} B" if unit == "B" else f"{amount:.1f} {unit}"


def shown_digest(digest_hex: str) -> str:
    """`sha256:190a348f…62f6`."""
    return f"sha256:{digest_hex[:8]}…{digest_hex[-4:]}"


def shown_user(uid: int) -> str:
    """The user's name, or their number where they have none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def shown_seconds(seconds: float) -> str:
    """`40 s`, `12 min`, `5 h`, `3 d`."""
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{max(0, seconds) // divisor:.0f} {unit}"
    return f"{seconds // 86400:.0f} d"
