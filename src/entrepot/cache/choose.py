"""Which folder is the root, when nobody says it. On the hit path: imports os alone."""

import os

from entrepot.cache.rules import Unusable, check_folder, mode_for, read_rules

SYSTEM_ROOT = "/var/cache/entrepot"

_NETWORK = frozenset(
    b"""
    nfs nfs3 nfs4 lustre gpfs beegfs beegfs_nodev cifs smb3 smbfs afs auristorfs ceph glusterfs fuse.glusterfs panfs
    orangefs pvfs2 wekafs fuse.sshfs fuse.ceph fuse.ceph-fuse fuse.cvmfs 9p ncpfs coda gfs2 ocfs2
    """.split()
)


def choose_root() -> str:
    """The root as an absolute path: `ENTREPOT_CACHE`, that of this machine if usable, else a private one.

    `unix:PATH` comes back as it is: the socket of a node service.
    """
    told = os.environ.get("ENTREPOT_CACHE", "")
    if told.startswith("unix:"):
        return told
    if told:
        return os.path.abspath(told)
    return SYSTEM_ROOT if is_usable(SYSTEM_ROOT) else private_root()


def is_usable(root: str) -> bool:
    """True if this process may write in `root`, and it is a safe cache or may become one."""
    if not os.access(root, os.W_OK):
        return False
    try:
        read_rules(root)
    except FileNotFoundError:
        try:
            status = os.lstat(root)
            check_folder(status, mode_for(status))
        except (OSError, Unusable):
            return False
    except (OSError, Unusable):
        return False
    return True


def private_root() -> str:
    """`~/.cache/entrepot` (`XDG_CACHE_HOME`); below `TMPDIR` if the home is none, or on the network."""
    home = os.path.expanduser("~")
    caches = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(caches):
        caches = f"{home}/.cache"
    base = caches if os.path.isdir(caches) else home
    if os.path.isabs(base) and os.access(base, os.W_OK) and not is_network(mount_of(base)):
        return f"{caches}/entrepot"
    return f"{os.path.abspath(os.environ.get('TMPDIR') or '/tmp')}/entrepot-{os.geteuid()}"  # noqa: S108


def mount_of(path: str, table: str = "/proc/self/mounts") -> tuple[bytes, bytes]:
    """Type and options of the file system `path` is on, empty if unknown. Source: proc_pid_mounts(5)."""
    place = os.fsencode(os.path.realpath(path)) + b"/"
    longest, found = -1, (b"", b"")
    try:
        with open(table, "rb") as lines:
            for line in lines:
                fields = line.split(b" ")
                point = _unescape(fields[1]).rstrip(b"/") + b"/"
                # a later mount on the same point hides the earlier one
                if place.startswith(point) and len(point) >= longest:
                    longest, found = len(point), (fields[2], fields[3])
    except (OSError, IndexError):
        return b"", b""
    return found


def is_network(mount: tuple[bytes, bytes]) -> bool:
    """True if other machines see the same files."""
    return mount[0] in _NETWORK


def has_local_locks_only(mount: tuple[bytes, bytes]) -> bool:
    """True if flock excludes only within this machine, by the mount options. Source: nfs(5), mount.lustre(8)."""
    options = mount[1].split(b",")
    return is_network(mount) and any(
        option in (b"local_lock=all", b"local_lock=flock", b"nolock", b"localflock") for option in options
    )


def _unescape(point: bytes) -> bytes:
    for code, char in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        point = point.replace(code, char)
    return point
