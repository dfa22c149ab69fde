"""`cache …`: the node cache. A hit of `cache get` by digest never comes here: see `entrepot.cli.main`."""

from typing import Final

from entrepot.cli.lazy import LazyGroup, Line

_GET: Final = "entrepot.cli.cache_get"
_KEEP: Final = "entrepot.cli.cache_keep"

cache: Final = LazyGroup(
    "cache",
    lines={
        "get": Line(_GET, "get", "Print the path of a verified blob, fetched if it is not here."),
        "ls": Line(_KEEP, "ls", "List what is here."),
        "verify": Line(_KEEP, "verify", "Hash what is here; remove and name what is wrong."),
        "prune": Line(_KEEP, "prune", "Make room."),
        "pin": Line(_KEEP, "pin", "Keep a blob from being removed."),
        "stats": Line(_KEEP, "stats", "Count hits, misses, waits and bytes saved."),
        "dir": Line(_KEEP, "dir_", "Print the folder."),
    },
    later=frozenset({"run", "warm", "serve"}),
    help="Verified blobs on this machine: one download for many jobs.",
)
