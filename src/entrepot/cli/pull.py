"""`pull`: objects and blobs to files, folders and standard output."""

import os
import time

import click

from entrepot.cache.wording import shown_digest, shown_size
from entrepot.cli.bars import watching
from entrepot.cli.exits import NothingMoved
from entrepot.cli.output import Row
from entrepot.cli.reports import PullReport
from entrepot.cli.session import Session, command
from entrepot.cli.wording import escaped
from entrepot.client.flow import Flow
from entrepot.client.folders import find_below, pull_folder
from entrepot.client.progress import Meter, Watcher
from entrepot.client.pull import find, pull_file, pull_stream
from entrepot.client.reference import BlobRef, ObjectRef
from entrepot.client.results import Pulled
from entrepot.errors import Unsupported, UsageError


@command(
    "pull",
    click.Argument(["ref"]),
    click.Option(["-O", "--output", "target"], metavar="FILE|DIR|-", help="Where to; - is standard output."),
    click.Option(["--as", "form"], metavar="FORM", help="Convert it on the server (in a later version)."),
    click.Option(["--error-on-no-transfer"], is_flag=True, help="Exit 9 if all was here already."),
    help="Fetch REF, object:[PROJECT:]BUCKET/KEY or sha256:HEX, into a file of its last name, here. A / at the end of "
    "REF fetches all below into a folder. A file appears when it is verified; the same command again continues.",
)
def pull(session: Session, ref: str, target: str | None, form: str | None, error_on_no_transfer: bool) -> None:
    """Fetch, then say where it is."""
    if form:
        raise Unsupported("--as is not in this version yet", advice="pull it as it is")
    reference = session.reference(ref)
    began = time.monotonic()
    with session.client() as client:
        if session.is_dry:
            return client.run(_rehearse(session, reference))
        with watching(session) as watcher:
            pulled = client.run(_pull(session, reference, target, watcher))
    if error_on_no_transfer and not any(one.received for one in pulled):
        raise NothingMoved("nothing had to be fetched", why="all of it was here")
    for one in pulled:
        if one.path is not None:
            session.output.add(_row(one, one.path, time.monotonic() - began))
    return None


def _pull(session: Session, ref: ObjectRef | BlobRef, target: str | None, watcher: Watcher) -> Flow[list[Pulled]]:
    jobs = session.settings.jobs()
    if isinstance(ref, ObjectRef) and ref.is_prefix:
        if target == "-":
            raise UsageError(f"{ref} is many files", why="standard output takes one", advice="-O DIR")
        return (yield from pull_folder(ref, target or ".", watcher, jobs))
    found = yield from find(ref)
    if target == "-":
        return [(yield from pull_stream(found, 1, Meter(watcher), jobs))]
    path = target or found.file_name
    path = os.path.join(path, found.file_name) if path.endswith("/") or os.path.isdir(path) else path
    return [(yield from pull_file(found, path, Meter(watcher), jobs))]


def _rehearse(session: Session, ref: ObjectRef | BlobRef) -> Flow[None]:
    is_prefix = isinstance(ref, ObjectRef) and ref.is_prefix
    many = (yield from find_below(ref)) if isinstance(ref, ObjectRef) and is_prefix else [(yield from find(ref))]
    for found in many:
        session.say(f"would pull {found.ref}, {shown_size(found.size)}")


def _row(one: Pulled, path: str, seconds: float) -> Row:
    shape = PullReport(1, one.ref, path, one.digest, one.size, one.received, one.saved, round(seconds, 3))
    saved = f", {shown_size(one.saved)} was here" if one.saved else ""
    digest = shown_digest(one.digest.removeprefix("sha256:"))
    sentence = f"ok  {escaped(path)}  {digest}  received {shown_size(one.received)}{saved}, {seconds:.0f} s"
    return Row((path,), shape, sentence=sentence)
