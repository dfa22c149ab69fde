"""`rm`: objects to the trash."""

import click

from entrepot.cache.wording import shown_size
from entrepot.cli.output import Row
from entrepot.cli.reports import RemoveReport
from entrepot.cli.session import Session, command
from entrepot.client import api
from entrepot.client.flow import Flow
from entrepot.client.folders import find_below
from entrepot.client.pull import Found, find
from entrepot.client.reference import ObjectRef
from entrepot.errors import EntrepotError, Unsupported


@command(
    "rm",
    click.Argument(["refs"], nargs=-1, required=True, metavar="REF..."),
    click.Option(["--now"], is_flag=True, help="Past the trash (in a later version)."),
    help="Move REF to the trash: object:[PROJECT:]BUCKET/KEY, or all below it if it ends in /, which needs a yes.",
)
def rm(session: Session, refs: tuple[str, ...], now: bool) -> None:
    """Find them all, ask if they are many, remove them."""
    if now:
        raise Unsupported("--now is not in this version yet", advice="rm without it; the trash is emptied by time")
    references = [session.object(ref) for ref in refs]
    with session.client() as client:
        found = client.run(_find(references))
        if any(ref.is_prefix for ref in references):
            total = shown_size(sum(one.size for one in found))
            session.confirm(f"Remove {len(found)} objects, {total}, below {' '.join(refs)}?")
        if session.is_dry:
            for one in found:
                session.say(f"would remove {one.ref}, {shown_size(one.size)}")
            return
        client.run(_remove(session, found))


def _find(references: list[ObjectRef]) -> Flow[list[Found]]:
    found: list[Found] = []
    for ref in references:
        found += (yield from find_below(ref)) if ref.is_prefix else [(yield from find(ref))]
    return found


def _remove(session: Session, found: list[Found]) -> Flow[None]:
    for count, one in enumerate(found):
        assert isinstance(one.ref, ObjectRef)
        try:
            yield from api.delete(one.ref)
        except EntrepotError as error:
            error.why = error.why or (f"{count} of {len(found)} are removed" if count else "")
            raise
        row = (str(one.ref), str(one.size))
        session.output.add(Row(row, RemoveReport(*row[:1], one.size), (row[0], shown_size(one.size))))
