"""`Client`: the store for programs that wait. `remote_async.py` has the same, awaited."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from io import BufferedReader
from typing import Self, TypeVar

from entrepot.client import api
from entrepot.client.calls import Calls, PathOrFile
from entrepot.client.connect import Trust
from entrepot.client.flow import Flow
from entrepot.client.folders import pull_folder, push_folder
from entrepot.client.progress import Watcher, nobody
from entrepot.client.pull import find
from entrepot.client.push import PushOptions
from entrepot.client.remotefile import READ_AHEAD_BYTES, RemoteFile
from entrepot.client.results import Pushed
from entrepot.client.target import Pace
from entrepot.client.threads import Threads
from entrepot.shapes import Link, Me, ObjectShape

T = TypeVar("T")


class Client:
    """The store for programs that wait. Safe for many threads; close it, or use it in a `with`.

    `server` None: as the command line finds it. `token` None: the one of this user for that server, "": anonymous.
    `project`: where bare bucket names are. `notice` gets a line for each request. Raises: UsageError; Denied.
    """

    def __init__(
        self,
        server: str | None = None,
        token: str | None = None,
        project: str | None = None,
        *,
        trust: Trust = Trust(),  # noqa: B008  # frozen
        bytes_per_second: float | None = None,
        connections: int = 4,
        notice: Callable[[str], None] | None = None,
    ) -> None:
        self._calls = Calls(server, token, project)
        self._connections = connections
        self._threads = Threads(self._calls.target, trust, Pace(bytes_per_second), notice)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all connections."""
        self._threads.close()

    def run(self, flow: Flow[T]) -> T:
        """What any flow of this package gives."""
        return self._threads.run(flow)

    def urls(self, ref: str) -> Mapping[str, str]:
        """The same object through other protocols, by name."""
        return self._calls.urls(self._calls.object(ref))

    def push(
        self,
        source: PathOrFile,
        ref: str | None = None,
        *,
        options: PushOptions = PushOptions(),  # noqa: B008  # frozen
        progress: Watcher = nobody,
    ) -> Pushed:
        """A file, or what a file object still gives, as an object; without `ref` `object:files/<file name>`.

        Raises: NotFound; Denied; Conflict; LimitReached; DigestMismatch; Unavailable: the same call continues.
        """
        options = replace(options, at_once=self._connections)
        return self.run(self._calls.push(source, ref, options, progress))

    def push_folder(
        self,
        folder: str,
        ref: str,
        *,
        options: PushOptions = PushOptions(),  # noqa: B008  # frozen
        progress: Watcher = nobody,
    ) -> list[Pushed]:
        """All files of a folder below `ref`; a slash at its end means what is inside. Raises: as `push`."""
        return self.run(push_folder(folder, self._calls.object(ref), options, progress))

    def pull(self, ref: str, target: str | os.PathLike[str] | None = None, *, progress: Watcher = nobody) -> str:
        """The path of the verified file: `target`, or in it if it is a folder, or here.

        Raises: NotFound; Denied; DigestMismatch; DiskFull; Unavailable: the same call continues.
        """
        return self.run(self._calls.pull(ref, target, self._connections, progress))

    def pull_folder(self, ref: str, folder: str, *, progress: Watcher = nobody) -> list[str]:
        """The paths of all objects below `ref`, as files in `folder`. Raises: as `pull`; Refused."""
        flow = pull_folder(self._calls.object(ref), folder, progress, self._connections)
        return [pulled.path for pulled in self.run(flow) if pulled.path]

    def open(self, ref: str) -> BufferedReader:
        """A seekable file over ranged reads. Raises: NotFound; Denied; while reading also Conflict."""
        found = self.run(find(self._calls.reference(ref)))
        return BufferedReader(RemoteFile(found, self.run), READ_AHEAD_BYTES)

    def exists(self, ref: str) -> bool:
        """Whether it is there for this caller."""
        return self.run(self._calls.exists(ref))

    def inspect(self, ref: str) -> ObjectShape:
        """All about one object. Raises: NotFound; Denied."""
        return self.run(api.inspect(self._calls.object(ref)))

    def list(self, ref: str) -> Iterator[ObjectShape]:
        """All objects whose key begins with that of `ref`, in order, a page at a time. Raises: NotFound; Denied."""
        after: str | None = ""
        while after is not None:
            page = self.run(self._calls.page(ref, after, folded=False))
            yield from page.objects
            after = page.next

    def delete(self, ref: str) -> None:
        """Nothing; the object is in the trash. Raises: NotFound; Denied."""
        self.run(api.delete(self._calls.object(ref)))

    def link(self, ref: str, expires_seconds: int = 3600) -> Link:
        """A signed URL that reads it without a token. Raises: NotFound; Denied."""
        return self.run(api.link(self._calls.object(ref), expires_seconds))

    def me(self) -> Me:
        """Who the token is. Raises: Unauthenticated."""
        return self.run(api.me())
