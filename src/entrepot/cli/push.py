"""`push`: files, folders and standard input to objects."""

import os
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from entrepot.cache.wording import shown_digest, shown_size
from entrepot.cli.bars import watching
from entrepot.cli.exits import NothingMoved
from entrepot.cli.output import Row
from entrepot.cli.reports import PushReport, Quota
from entrepot.cli.session import Session, command
from entrepot.cli.wording import escaped
from entrepot.client import api
from entrepot.client.folders import push_folder, walk
from entrepot.client.localfile import LocalFile
from entrepot.client.progress import Watcher
from entrepot.client.push import PushOptions
from entrepot.client.reference import DEFAULT_BUCKET, ObjectRef
from entrepot.client.results import Pushed
from entrepot.errors import EntrepotError, UsageError
from entrepot.model import Digest

if TYPE_CHECKING:
    from entrepot.client.remote import Client

_TYPES: Final = ("auto", "sif", "oci", "disk", "file")


@command(
    "push",
    click.Argument(["source"]),
    click.Argument(["ref"], required=False),
    click.Option(["--type", "kind"], type=click.Choice(_TYPES), default="auto", help="On objects always plain bytes."),
    click.Option(["--sha256", "sha256"], metavar="HEX", help="What the bytes must be."),
    click.Option(["--expires"], metavar="TIME", help="When the object goes by itself: 14d."),
    click.Option(["--label", "labels"], metavar="K=V", multiple=True, help="A label; may be given again."),
    click.Option(["--content-type"], metavar="TYPE", help="The media type of the bytes."),
    click.Option(["--if-absent"], is_flag=True, help="Only if nothing has this name."),
    click.Option(["--make-bucket"], is_flag=True, help="Make the bucket if it is missing."),
    click.Option(["--error-on-no-transfer"], is_flag=True, help="Exit 9 if nothing had to be sent."),
    help="Send SOURCE, a file, a folder or - for standard input, to REF: object:[PROJECT:]BUCKET/KEY, or below it "
    "if it ends in /. `dir/` sends what is inside, `dir` the folder. Without REF: object:files/ and its name.",
)
def push(
    session: Session,
    source: str,
    ref: str | None,
    kind: str,
    sha256: str | None,
    expires: str | None,
    labels: tuple[str, ...],
    content_type: str | None,
    if_absent: bool,
    make_bucket: bool,
    error_on_no_transfer: bool,
) -> None:
    """Send, then say what is there now."""
    to = session.object(ref or f"object:{DEFAULT_BUCKET}/")
    options = PushOptions(
        sha256=Digest.parse(sha256).hex if sha256 else None,
        expires=expires,
        labels=dict(map(_label, labels)),
        type=content_type,
        if_absent=if_absent,
        make_bucket=make_bucket or ref is None,
        at_once=session.settings.jobs(),
    )
    if session.is_dry:
        return _rehearse(session, source, to)
    began = time.monotonic()
    with session.client() as client:
        with watching(session) as watcher:
            pushed = _pushed(client, source, to, options, watcher)
        if error_on_no_transfer and not any(one.sent for one in pushed):
            raise NothingMoved("nothing had to be sent", why="the server had all bytes")
        quota = _quota(session, client, to)
    for one in pushed:
        session.output.add(_row(session, one, time.monotonic() - began, quota))
    return None


def _pushed(client: "Client", source: str, to: ObjectRef, options: PushOptions, watcher: Watcher) -> list[Pushed]:
    if source == "-":
        if to.is_prefix:
            raise UsageError("standard input has no name", advice="entrepot push - object:BUCKET/KEY")
        if sys.stdin is None:  # it was closed before we began
            raise UsageError("standard input is closed")
        return [client.push(sys.stdin.buffer, str(to), options=options, progress=watcher)]
    if not os.path.isdir(source):
        return [client.push(source, str(to), options=options, progress=watcher)]
    if options.sha256:
        raise UsageError("--sha256 is of one file, not of a folder")
    pushed = client.run(push_folder(source, to, options, watcher))
    urls = client.urls
    return [replace(one, urls=urls(one.ref)) for one in pushed]


def _rehearse(session: Session, source: str, to: ObjectRef) -> None:
    """`-n`: what would be sent, without asking the server."""
    if source == "-":
        return session.say(f"would push standard input to {to}")
    if os.path.isdir(source):
        base = to if to.is_prefix else to.below("/")
        for entry in walk(source):
            session.say(f"would push {entry.path} to {base.below(entry.key)}, {shown_size(entry.size)}")
        return None
    file = LocalFile.open(source)
    file.close()
    target = to.below(os.path.basename(source)) if to.is_prefix else to
    return session.say(f"would push {source} to {target}, {shown_size(file.size)}")


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageError(f"not a label: {text!r}", advice="--label NAME=VALUE")
    return name, value


def _quota(session: Session, client: "Client", to: ObjectRef) -> Quota | None:
    if not session.wants_details:
        return None
    try:
        me = client.run(api.me())
    except EntrepotError:
        return None  # the push is done whatever this says
    mine = next((one for one in me.projects if one.name == (to.project or me.project)), None)
    return Quota(mine.used, mine.quota) if mine else None


def _row(session: Session, one: Pushed, seconds: float, quota: Quota | None) -> Row:
    shape = PushReport(
        1, one.ref, one.digest, one.size, one.sent, one.saved, round(seconds, 3), one.type, dict(one.urls), quota
    )
    fields = (one.ref, one.digest)
    if not session.wants_details:
        return Row(fields, shape)
    room = f"  quota {shown_size(quota.used)} of {shown_size(quota.limit)}" if quota and quota.limit is not None else ""
    saved = f", saved {shown_size(one.saved)}" if one.saved else ""
    digest = shown_digest(one.digest.removeprefix("sha256:"))
    sentence = f"ok  {escaped(one.ref)}  {digest}  sent {shown_size(one.sent)}{saved}, {seconds:.0f} s{room}"
    return Row(fields, shape, sentence=sentence)
