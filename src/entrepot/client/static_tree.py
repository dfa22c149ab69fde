"""A registry as files in a folder, which any web server hands out: what is fetched, what is written, in which order.

What a name points to is there before the name, so that a run that is cut off leaves a tree that works.
"""

import errno
import fcntl
import filecmp
import html
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

from entrepot.client.flow import Flow, work
from entrepot.client.folders import small_together
from entrepot.client.layout import LAYOUT, blob_path, layout_index
from entrepot.client.localfile import file_errors, target_errors
from entrepot.client.progress import Meter, Watcher
from entrepot.client.pull import Found, pull_file
from entrepot.client.static_plan import PlanFile, Tree
from entrepot.client.static_rules import HTML, JSON, Served, headers_file, htaccess_files, nginx_conf
from entrepot.errors import Busy, UsageError
from entrepot.model import NamedDigest

_OURS: Final = ("v2", "registry", "blobs")
"""What `--delete` may look into."""
_NO_LINK: Final = (errno.EMLINK, errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


@dataclass(frozen=True, slots=True)
class Exported:
    """A tree that is as the server said. `files` in it, `written` anew, `removed`; `received` and `saved` bytes."""

    repositories: int
    files: int
    written: int
    removed: int
    received: int
    saved: int


class TreeFolder:
    """The folder of a tree, locked. Files appear whole, and only if they are not there as they should be."""

    def __init__(self, root: str, descriptor: int) -> None:
        self.root = root
        self._descriptor = descriptor
        self._made: set[str] = set()

    @classmethod
    def open(cls, root: str) -> Self:
        """The folder `root`, made if it is missing. Raises: UsageError; Denied; Busy, if another export writes it."""
        root = os.path.abspath(root)
        with target_errors(root):
            os.makedirs(root, exist_ok=True)
            descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise Busy(f"another export writes {root}", advice="wait for it, or give another folder") from error
        except OSError:
            pass  # no locks on this file system
        return cls(root, descriptor)

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._descriptor)

    def place(self, path: str) -> str:
        """Where `path` of the tree is, its folder made."""
        target = os.path.join(self.root, path)
        folder = os.path.dirname(target)
        if folder not in self._made:
            with target_errors(folder):
                os.makedirs(folder, exist_ok=True)
            self._made.add(folder)
        return target

    def has(self, digest: NamedDigest, size: int) -> bool:
        """Whether the bytes are here: nothing gets that name before it is verified."""
        with suppress(OSError):
            return os.stat(os.path.join(self.root, blob_path(digest))).st_size == size
        return False

    def link(self, digest: NamedDigest, path: str) -> bool:
        """Whether `path` had to be made a name of these bytes."""
        source, target = os.path.join(self.root, blob_path(digest)), self.place(path)
        if _is_same(source, target):
            return False
        with self._fresh() as fresh, file_errors(target):
            try:
                os.link(source, fresh)
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise
                shutil.copyfile(source, fresh)
                _sync(fresh)
            os.rename(fresh, target)
        return True

    def write(self, path: str, content: bytes) -> bool:
        """Whether `path` had to be written to hold just that."""
        target = self.place(path)
        with suppress(OSError), open(target, "rb") as file:
            if file.read(len(content) + 1) == content:
                return False
        with self._fresh() as fresh, file_errors(target):
            with open(fresh, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.rename(fresh, target)
        return True

    @contextmanager
    def _fresh(self) -> Iterator[str]:
        """A name nothing has, for what is not whole yet: no tag or digest is called so."""
        fresh = self.place("blobs/.unfinished")
        with suppress(FileNotFoundError):
            os.unlink(fresh)
        try:
            yield fresh
        finally:
            with suppress(FileNotFoundError):
                os.unlink(fresh)

    def remove_others(self, kept: Collection[str]) -> int:
        """How many files of an older tree had to go."""
        removed = 0
        for top in _OURS:
            for folder, _, names in os.walk(os.path.join(self.root, top), topdown=False):
                with file_errors(folder):
                    for name in names:
                        path = os.path.join(folder, name)
                        if os.path.relpath(path, self.root) not in kept:
                            os.unlink(path)
                            removed += 1
                    if not os.listdir(folder):
                        os.rmdir(folder)
        return removed


def _is_same(source: str, target: str) -> bool:
    """Whether `target` is the file `source` or, where nothing can be linked, has its bytes."""
    try:
        if os.path.samefile(source, target):
            return True
        return os.stat(source).st_size == os.stat(target).st_size and filecmp.cmp(source, target, shallow=False)
    except OSError:
        return False


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def missing(tree: Tree, folder: TreeFolder) -> list[Found]:
    """What is to be fetched."""
    return [found for digest, found in tree.blobs().items() if not folder.has(digest, found.size)]


def export_tree(tree: Tree, folder: TreeFolder, watcher: Watcher, jobs: int, *, delete: bool) -> Flow[Exported]:
    """The tree, in `folder`. Raises: NotFound, if something of it was deleted meanwhile; DigestMismatch; DiskFull."""
    rules = yield from work(lambda: rule_files(tree, folder.root))
    wanted = yield from work(lambda: missing(tree, folder))
    meter = Meter(watcher, phase="download", total=sum(found.size for found in wanted))
    yield from _fetch([one for one in wanted if not _is_manifest(one)], folder, meter, jobs)
    yield from _fetch([one for one in wanted if _is_manifest(one)], folder, meter, jobs)
    written = len(wanted) + (yield from work(lambda: sum(_appear(file, folder) for file in tree.files)))
    written += yield from work(lambda: sum(folder.write(path, text) for path, text in rules.items()))
    blobs = tree.blobs()
    kept = {*(file.path for file in tree.files), *rules, *map(blob_path, blobs)}
    removed = (yield from work(lambda: folder.remove_others(kept))) if delete else 0
    received = sum(found.size for found in wanted)
    saved = sum(found.size for found in blobs.values()) - received
    return Exported(len(tree.plans), len(kept), written, removed, received, saved)


def _is_manifest(found: Found) -> bool:
    return getattr(found.ref, "kind", "") == "manifests"


def _fetch(wanted: Iterable[Found], folder: TreeFolder, meter: Meter, jobs: int) -> Flow[None]:
    flows = []
    for found in wanted:
        target = folder.place(blob_path(NamedDigest.parse(found.digest)))
        flows.append((found.size, pull_file(found, target, meter, jobs, durable=True)))
    yield from small_together(flows)


def _appear(file: PlanFile, folder: TreeFolder) -> bool:
    if file.text is not None:
        return folder.write(file.path, file.text.encode())
    return folder.link(file.named, file.path)


def general_files(tree: Tree) -> dict[str, PlanFile]:
    """The two files above all repositories."""
    texts = (("v2/index.html", JSON, "{}"), ("registry/index.html", HTML, _page(tree)))
    return {path: PlanFile(path, kind, text=text) for path, kind, text in texts}


def rule_files(tree: Tree, root: str) -> dict[str, bytes]:
    """What is in the tree beside repositories, by path. Raises: UsageError, for a folder nginx cannot be told of."""
    general = general_files(tree)
    served = [served_of(file) for file in (*tree.files, *general.values())]
    texts = {path: file.text or "" for path, file in general.items()}
    texts |= {"nginx.conf": nginx_conf(served, tree.base_url, root), "_headers": headers_file(served)}
    texts |= htaccess_files(served)
    layout = {"oci-layout": LAYOUT, "index.json": layout_index(tree.images)}
    return {path: text.encode() for path, text in texts.items()} | layout


def served_of(file: PlanFile) -> Served:
    """What a web server must know of it."""
    return Served(file.path, file.type, file.digest if file.rank == 2 else None)


def _page(tree: Tree) -> str:
    """A list of the repositories for people."""
    above = urlsplit(tree.base_url).path
    links = (f'<li><a href="{above}/registry/{name}/">{html.escape(name)}</a></li>' for name in tree.names)
    head = '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Repositories</title>\n'
    return f"{head}<h1>Repositories</h1>\n<ul>\n" + "\n".join(links) + "\n</ul>\n</html>\n"


def named_repository(text: str) -> str:
    """`text`, unless it names a tag. Raises: UsageError."""
    if ":" in text or "@" in text:
        raise UsageError(
            f"{text!r} is more than a repository", why="a tree holds all tags of one", advice="without tag"
        )
    return text
