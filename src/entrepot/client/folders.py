"""Whole folders, as rsync means them: `dir/` is what is inside, `dir` the folder itself."""

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from entrepot.client import api
from entrepot.client.flow import Flow, each, work
from entrepot.client.localfile import file_errors, target_errors
from entrepot.client.part import SUFFIX
from entrepot.client.plan import HASH_FIRST_BYTES
from entrepot.client.progress import Meter, Watcher, nobody
from entrepot.client.pull import AT_ONCE, Found, pull_file
from entrepot.client.push import PushOptions, push_file
from entrepot.client.reference import ObjectRef
from entrepot.client.results import Pulled, Pushed
from entrepot.errors import NotFound, Refused, UsageError

T = TypeVar("T")

FILES_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """A file below a folder: its path, and its key below the prefix it goes to."""

    path: str
    key: str
    size: int


def push_folder(folder: str, to: ObjectRef, options: PushOptions, watcher: Watcher = nobody) -> Flow[list[Pushed]]:
    """All files of `folder` below `to`, in order of their keys; the first error ends it.

    Links to files are followed, links to folders are not. Raises: as `push_file`; UsageError, for what is no file.
    """
    entries = yield from work(lambda: list(walk(folder)))
    meter = Meter(watcher, phase="upload", total=sum(entry.size for entry in entries))
    base = to if to.is_prefix else to.below("/")
    flows = [(entry.size, push_file(entry.path, base.below(entry.key), options, meter)) for entry in entries]
    pushed = yield from small_together(flows)
    return sorted(pushed, key=lambda one: one.ref)


def walk(folder: str) -> Iterator[Entry]:
    """The files below `folder`. With a slash at its end keys begin inside, else with its name. Raises: UsageError."""
    top = folder.rstrip("/") or "/"
    base = "" if folder.endswith("/") else f"{os.path.basename(os.path.abspath(top))}/"

    def refuse(error: OSError) -> None:
        raise error

    with file_errors(folder):
        for place, folders, files in os.walk(top, onerror=refuse):
            folders.sort()
            for name in sorted(files):
                path = os.path.join(place, name)
                if not os.path.isfile(path):
                    raise UsageError(f"{path} is neither file nor folder", advice="push the rest without it")
                key = base + os.path.relpath(path, top).replace(os.sep, "/")
                yield Entry(path, _text(key), os.stat(path).st_size)


def _text(key: str) -> str:
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{key!r} cannot be a key", why="it is not UTF-8", advice="rename the file") from error
    return key


def find_below(prefix: ObjectRef) -> Flow[list[Found]]:
    """All objects below `prefix`. Raises: NotFound, if there is none."""
    found: list[Found] = []
    after: str | None = ""
    while after is not None:
        page = yield from api.page(prefix, after)
        found += [
            Found(ObjectRef(prefix.bucket, one.key, prefix.project), one.digest, one.size) for one in page.objects
        ]
        after = page.next
    if not found:
        raise NotFound(f"nothing is below {prefix}")
    return found


def pull_folder(
    prefix: ObjectRef, folder: str, watcher: Watcher = nobody, at_once: int = AT_ONCE
) -> Flow[list[Pulled]]:
    """All objects below `prefix` as files in `folder`, which is made; the first error ends it.

    Raises: as `pull_file`; Refused, for a key that cannot be a file's name here, before anything is fetched.
    """
    found = yield from find_below(prefix)
    names = {one: file_name(prefix, one) for one in found if not _is_marker(one)}
    refuse_collisions(names.values())
    yield from work(lambda: _make_folders(folder, names.values()))
    meter = Meter(watcher, phase="download", total=sum(one.size for one in names))
    targets = ((one, os.path.join(folder, name)) for one, name in names.items())
    pulled = yield from small_together([(one.size, pull_file(one, path, meter, at_once)) for one, path in targets])
    return sorted(pulled, key=lambda one: one.ref)


def file_name(prefix: ObjectRef, found: Found) -> str:
    """Where an object goes below the folder. Raises: Refused, if it would leave it or name no file."""
    assert isinstance(found.ref, ObjectRef)
    name = found.ref.key.removeprefix(prefix.key)
    if any(part in ("", ".", "..") for part in name.split("/")) or "\0" in name:
        raise Refused(f"{found.ref} cannot be a file below a folder", why="of its key", advice="pull it alone, with -O")
    return name


def refuse_collisions(names: Collection[str]) -> None:
    """Nothing. Raises: Refused, if one file is the folder of another, or the unfinished form of it."""
    files = set(names)
    for name in files:
        parents = name.split("/")[:-1]
        if any("/".join(parents[: depth + 1]) in files for depth in range(len(parents))) or name + SUFFIX in files:
            raise Refused(f"{name!r} and another key cannot both be files here", advice="pull them one by one, with -O")


def _is_marker(found: Found) -> bool:
    """Other clients put an empty object `a/` to show a folder."""
    return found.size == 0 and isinstance(found.ref, ObjectRef) and found.ref.key.endswith("/")


def _make_folders(folder: str, names: Collection[str]) -> None:
    with target_errors(folder):
        for place in sorted({os.path.dirname(os.path.join(folder, name)) for name in names}):
            os.makedirs(place or ".", exist_ok=True)


def small_together(flows: "list[tuple[int, Flow[T]]]") -> Flow[list[T]]:
    """The results: small files side by side, then the large ones alone, each of which takes several connections."""
    results: list[T] = []
    take: Callable[[T], None] = results.append
    yield from each((flow for size, flow in flows if size < HASH_FIRST_BYTES), FILES_AT_ONCE, take)
    for size, flow in flows:
        if size >= HASH_FIRST_BYTES:
            results.append((yield from flow))
    return results
