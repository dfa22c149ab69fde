"""`bundle` and `load`: images in one file, across an air gap."""

import time

import click

from entrepot.cache.wording import shown_digest, shown_size
from entrepot.cli.bars import watching
from entrepot.cli.output import Row
from entrepot.cli.reports import BundleReport, LoadReport
from entrepot.cli.session import Session, command
from entrepot.cli.wording import escaped
from entrepot.client import registry
from entrepot.client.bundle import Contents, bundle_size, collect, write_bundle
from entrepot.client.load import Bundle, Loaded, images_in
from entrepot.client.load import load as load_images
from entrepot.client.progress import Meter


@command(
    "bundle",
    click.Argument(["file"], metavar="FILE.tar"),
    click.Argument(["refs"], nargs=-1, required=True, metavar="NAME[:TAG]..."),
    help="Write images, with all that an index names and all that refers to them, into one tar: an OCI layout. The "
    "same images give the same bytes. FILE.tar appears when all in it is verified; the same command again continues.",
)
def bundle(session: Session, file: str, refs: tuple[str, ...]) -> None:
    """Collect what belongs to them, then write it."""
    images = [registry.parse_image(ref) for ref in refs]
    began = time.monotonic()
    with session.client() as client:
        contents = client.run(collect(images))
        if session.is_dry:
            return session.say(f"would bundle {_names(contents)} in {file}, {shown_size(bundle_size(contents))}")
        with watching(session) as watcher:
            done = client.run(write_bundle(contents, file, Meter(watcher), session.settings.jobs()))
    seconds = time.monotonic() - began
    names = sorted(map(str, contents.images))
    shape = BundleReport(1, file, done.digest, done.size, names, done.received, done.saved, round(seconds, 3))
    digest = shown_digest(done.digest.removeprefix("sha256:"))
    sentence = f"ok  {escaped(file)}  {digest}  {len(names)} images, {shown_size(done.size)}, {seconds:.0f} s"
    session.output.add(Row((file,), shape, sentence=sentence))
    return None


def _names(contents: Contents) -> str:
    return ", ".join(sorted(map(str, contents.images)))


@command(
    "load",
    click.Argument(["file"], metavar="FILE.tar"),
    click.Option(["--to"], metavar="PREFIX", help="Put it in front of each name: PREFIX/NAME."),
    help="Push all images of a bundle. What the server has is not sent; tags move when all they name is there.",
)
def load(session: Session, file: str, to: str | None) -> None:
    """Verify and send it, image by image."""
    prefix = registry.repository_name(to.strip("/")) if to else None
    opened = Bundle.open(file)
    began = time.monotonic()
    try:
        images = images_in(opened, prefix)
        if session.is_dry:
            for image in images:
                session.say(f"would load {image.ref}")
            return
        with session.client() as client, watching(session) as watcher:
            loaded = client.run(load_images(images, watcher, session.settings.jobs()))
    finally:
        opened.close()
    for one in loaded:
        session.output.add(_row(one, time.monotonic() - began))


def _row(one: Loaded, seconds: float) -> Row:
    shape = LoadReport(1, one.ref, one.digest, one.sent, one.saved, round(seconds, 3))
    digest = shown_digest(one.digest.partition(":")[2])
    saved = f", saved {shown_size(one.saved)}" if one.saved else ""
    sentence = f"ok  {escaped(one.ref)}  {digest}  sent {shown_size(one.sent)}{saved}, {seconds:.0f} s"
    return Row((one.ref, one.digest), shape, sentence=sentence)
