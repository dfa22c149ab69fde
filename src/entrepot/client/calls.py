"""What both clients make of their arguments: flows. No I/O, but for reading the settings of this user."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import BinaryIO

from entrepot.client import api
from entrepot.client.flow import Flow
from entrepot.client.progress import Meter, Watcher
from entrepot.client.pull import find, pull_file
from entrepot.client.push import PushOptions, push_file
from entrepot.client.reference import DEFAULT_BUCKET, BlobRef, ObjectRef, parse_known
from entrepot.client.results import Pushed
from entrepot.client.settings import Settings
from entrepot.client.stream import push_stream
from entrepot.client.target import Target
from entrepot.errors import NotFound, UsageError
from entrepot.shapes import ObjectPage

PathOrFile = str | os.PathLike[str] | BinaryIO


class Calls:
    """The words of one caller: where its requests go, and which project bare names are in."""

    def __init__(self, server: str | None, token: str | None, project: str | None) -> None:
        flags = {"server": server} if server else {}
        settings = Settings.read(flags, os.environ)
        found = settings.token()[0] if token is None else token
        self.target = Target(settings.server(), found or None)
        self._project = project or settings.project

    def reference(self, text: str) -> ObjectRef | BlobRef:
        """The thing `text` means, in the client's project. Raises: BadName; Unsupported."""
        reference = parse_known(text)
        return reference.within(self._project) if isinstance(reference, ObjectRef) else reference

    def object(self, text: str) -> ObjectRef:
        """As `reference`, an object. Raises: BadName; Unsupported; UsageError, for a blob."""
        reference = self.reference(text)
        if isinstance(reference, BlobRef):
            raise UsageError(f"{reference} has no name", why="an object is needed: object:[PROJECT:]BUCKET/KEY")
        return reference

    def push(self, source: PathOrFile, ref: str | None, options: PushOptions, watcher: Watcher) -> Flow[Pushed]:
        """A file, or what a file object still gives."""
        path = None if hasattr(source, "read") else os.fspath(source)
        if ref is None:
            if path is None:
                raise UsageError("a stream needs a reference to go to", advice="object:BUCKET/KEY")
            ref, options = f"object:{DEFAULT_BUCKET}/", replace(options, make_bucket=True)
        to = self.object(ref)
        if path is None:
            assert hasattr(source, "read")
            pushed = yield from push_stream(source.read, to, options, Meter(watcher))
        else:
            to = to.below(os.path.basename(path)) if to.is_prefix else to
            pushed = yield from push_file(path, to, options, Meter(watcher))
        return replace(pushed, urls=self.urls(to))

    def pull(self, ref: str, target: str | os.PathLike[str] | None, at_once: int, watcher: Watcher) -> Flow[str]:
        """One object as a file; a folder keeps its name."""
        found = yield from find(self.reference(ref))
        path = os.fspath(target) if target is not None else found.file_name
        path = os.path.join(path, found.file_name) if os.path.isdir(path) else path
        yield from pull_file(found, path, Meter(watcher), at_once)
        return path

    def page(self, ref: str, after: str, *, folded: bool) -> Flow[ObjectPage]:
        """One page of a list."""
        return api.page(self.object(ref), after, "/" if folded else "")

    def exists(self, ref: str) -> Flow[bool]:
        """Whether it is there for this caller."""
        try:
            yield from api.head(self.reference(ref))
        except NotFound:
            return False
        return True

    def urls(self, ref: ObjectRef) -> Mapping[str, str]:
        """The same bytes through other protocols."""
        return {"http": self.target.base + api.url_of(ref), "s3": f"s3://{ref.bucket}/{ref.key}"}
