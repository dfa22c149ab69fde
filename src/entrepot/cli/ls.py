"""`ls`: buckets, or what is in one."""

import click

from entrepot.cache.wording import shown_digest, shown_size
from entrepot.cli.output import Row
from entrepot.cli.session import Session, command
from entrepot.client import api
from entrepot.client.flow import Flow
from entrepot.client.reference import ObjectRef
from entrepot.errors import Unsupported
from entrepot.shapes import BucketShape, ObjectShape, PrefixShape


@command(
    "ls",
    click.Argument(["ref"], required=False),
    click.Option(["-l", "--long", "is_long"], is_flag=True, help="With size, digest and time."),
    click.Option(["-R", "--recursive"], is_flag=True, help="All below, not folded at /."),
    click.Option(["--at", "at"], metavar="DATE", help="As it was then (in a later version)."),
    help="List REF: object:[PROJECT:]BUCKET/ or a prefix below it, up to the next /; without REF the buckets.",
)
def ls(session: Session, ref: str | None, is_long: bool, recursive: bool, at: str | None) -> None:
    """One name a line."""
    if at:
        raise Unsupported("--at is not in this version yet")
    with session.client() as client:
        if ref is None:
            client.run(_buckets(session, is_long))
        else:
            whole = ref if "/" in ref or not ref.startswith("object:") else f"{ref}/"
            client.run(_objects(session, session.object(whole), is_long, "" if recursive else "/"))


def _buckets(session: Session, is_long: bool) -> Flow[None]:
    for bucket in (yield from api.buckets(session.settings.project)):
        session.output.add(_bucket_row(bucket, is_long, session.settings.project))


def _bucket_row(bucket: BucketShape, is_long: bool, project: str | None) -> Row:
    name = str(ObjectRef(bucket.name, "", project))
    if not is_long:
        return Row((name,), bucket)
    return Row((name, bucket.project, "public" if bucket.public else "private", bucket.created), bucket)


def _objects(session: Session, ref: ObjectRef, is_long: bool, delimiter: str) -> Flow[None]:
    if not ref.is_prefix:
        session.output.add(_object_row((yield from api.inspect(ref)), ref, is_long))
        return
    after: str | None = ""
    while after is not None:
        page = yield from api.page(ref, after, delimiter)
        for prefix in page.prefixes:
            session.output.add(_prefix_row(prefix, ref, is_long))
        for one in page.objects:
            session.output.add(_object_row(one, ref, is_long))
        after = page.next


def _object_row(one: ObjectShape, ref: ObjectRef, is_long: bool) -> Row:
    name = str(ObjectRef(ref.bucket, one.key, ref.project))
    if not is_long:
        return Row((name,), one)
    digest = shown_digest(one.digest.removeprefix("sha256:"))
    fields = (name, str(one.size), one.digest, one.created, one.expires or "")
    return Row(fields, one, (name, shown_size(one.size), digest, one.created, one.expires or ""))


def _prefix_row(one: PrefixShape, ref: ObjectRef, is_long: bool) -> Row:
    name = str(ObjectRef(ref.bucket, one.prefix, ref.project))
    return Row((name, "", "", "", "") if is_long else (name,), one)
