"""`cache get`, when the digest is not the first thing to be had."""

import click

from entrepot.cache.store import Cache
from entrepot.cache.web import HttpSource
from entrepot.cli.output import Row
from entrepot.cli.reports import PathReport
from entrepot.cli.session import Session, command
from entrepot.cli.wording import seconds_of
from entrepot.client.pull import find
from entrepot.client.reference import BlobRef, ObjectRef
from entrepot.errors import NotFound, Unsupported, UsageError
from entrepot.model import Digest


@command(
    "get",
    click.Argument(["ref"], required=False),
    click.Option(["--sha256", "sha256"], metavar="HEX", help="The digest, with --url."),
    click.Option(["--url"], metavar="URL", help="Where the bytes are, for example a signed URL."),
    click.Option(["-O", "--output", "target"], metavar="FILE", help="A verified copy of one's own, also without room."),
    click.Option(["--hold"], metavar="TIME", help="Keep it at least so long: 12h."),
    click.Option(["--verify", "verify"], type=click.Choice(["auto", "always"]), default="auto", help="Hash it again."),
    click.Option(["--offline"], is_flag=True, help="Never ask a server."),
    click.Option(["--as", "form"], metavar="FORM", help="Convert it (in a later version)."),
    help="Print the path of REF, sha256:HEX or an object, verified; it is fetched if it is not here.",
)
def get(
    session: Session,
    ref: str | None,
    sha256: str | None,
    url: str | None,
    target: str | None,
    hold: str | None,
    verify: str,
    offline: bool,
    form: str | None,
) -> None:
    """The path alone."""
    if form:
        raise Unsupported("--as is not in this version yet")
    wanted = _reference(session, ref, sha256)
    digest_hex = _digest(session, wanted, offline=offline)
    cache = Cache.open(say=session.say)
    source = None if offline else _source(session, digest_hex, url)
    if target:
        cache.copy(digest_hex, source, target)
        path = target
    else:
        seconds = seconds_of(hold, "--hold") if hold else None
        path = cache.get(digest_hex, source, hold_seconds=seconds, verify_always=verify == "always")
    session.output.add(Row((path,), PathReport(path)))


def _reference(session: Session, ref: str | None, sha256: str | None) -> ObjectRef | BlobRef:
    named = BlobRef(Digest.parse(sha256)) if sha256 else None
    given = None if ref is None else session.reference(f"sha256:{ref}" if len(ref) == 64 else ref)
    if named and given and named != given:
        raise UsageError("REF and --sha256 are two different things", advice="give one of them")
    found = given or named
    if found is None:
        raise UsageError("nothing to get is given", advice="entrepot cache get sha256:HEX")
    return found


def _digest(session: Session, wanted: ObjectRef | BlobRef, *, offline: bool) -> str:
    if isinstance(wanted, BlobRef):
        return wanted.digest.hex
    if offline:
        raise NotFound(f"what {wanted} is only a server knows", advice="give the digest, or leave --offline out")
    with session.client() as client:
        return Digest.parse(client.run(find(wanted)).digest).hex


def _source(session: Session, digest_hex: str, url: str | None) -> HttpSource | None:
    cafile, insecure = session.settings.text("cacert"), session.settings.is_on("insecure")
    if url:
        return HttpSource(url, cafile=cafile, insecure=insecure)
    if not session.settings.text("server"):
        return None
    server, token = session.settings.server(), session.settings.token()[0]
    return HttpSource.of_server(server, digest_hex, token, cafile=cafile, insecure=insecure)
