"""`export-static`: the registry as files that any web server hands out."""

import time
from collections.abc import Sequence

import click

from entrepot.cache.wording import shown_size
from entrepot.cli.bars import watching
from entrepot.cli.output import Row
from entrepot.cli.reports import ExportReport
from entrepot.cli.session import Session, command
from entrepot.cli.wording import escaped
from entrepot.client import registry
from entrepot.client.flow import Flow, work
from entrepot.client.progress import Watcher
from entrepot.client.static_bucket import SCHEME, Bucket, export_bucket
from entrepot.client.static_plan import Tree, checked_base_url, plan_of
from entrepot.client.static_tree import Exported, TreeFolder, export_tree, named_repository
from entrepot.errors import NotFound


@command(
    "export-static",
    click.Argument(["target"], metavar="DIR|s3://BUCKET[/PREFIX]"),
    click.Argument(["refs"], nargs=-1, metavar="[NAME]..."),
    click.Option(["--base-url"], metavar="URL", required=True, help="Where the tree will be served: https://HOST."),
    click.Option(["--delete", "is_deleting"], is_flag=True, help="Remove what an older tree had and this has not."),
    help="Write repositories as static files, for clients of OCI, oras:// and the Singularity registry: NAME..., or "
    "all that are public. The same command again writes only what changed. DIR gets rules for nginx, Apache and "
    "Netlify; a bucket gets objects with their types, by the AWS_* variables.",
)
def export_static(session: Session, target: str, refs: tuple[str, ...], base_url: str, is_deleting: bool) -> None:
    """Ask what there is, then write it."""
    base_url = checked_base_url(base_url)
    names = [registry.repository_name(named_repository(ref)) for ref in refs]
    began = time.monotonic()
    with session.client() as client:
        tree = client.run(_tree(names, base_url, is_linked=not target.startswith(SCHEME)))
        if session.is_dry:
            total = shown_size(sum(found.size for found in tree.blobs().values()))
            return session.say(f"would export {', '.join(tree.names)} to {target}: {len(tree.files)} files, {total}")
        with watching(session) as watcher:
            done = client.run(_export(tree, target, watcher, session.settings.jobs(), is_deleting))
    session.output.add(_row(target, done, time.monotonic() - began))
    return None


def _tree(names: Sequence[str], base_url: str, *, is_linked: bool) -> Flow[Tree]:
    wanted = names or (yield from registry.public_repositories())
    if not wanted:
        raise NotFound("no repository is public", advice="name those to be exported")
    plans = {}
    for name in wanted:
        plans[name] = yield from plan_of(name, base_url, linked=is_linked)
    return Tree.of(base_url, plans)


def _export(tree: Tree, target: str, watcher: Watcher, jobs: int, is_deleting: bool) -> Flow[Exported]:
    if target.startswith(SCHEME):
        bucket = yield from work(lambda: Bucket.open(target))
        return (yield from export_bucket(tree, bucket, watcher, jobs, delete=is_deleting))
    folder = yield from work(lambda: TreeFolder.open(target))
    try:
        return (yield from export_tree(tree, folder, watcher, jobs, delete=is_deleting))
    finally:
        folder.close()


def _row(target: str, done: Exported, seconds: float) -> Row:
    shape = ExportReport(
        1, target, done.repositories, done.files, done.written, done.removed, done.received, done.saved,
        round(seconds, 3),
    )  # fmt: skip
    sentence = (
        f"ok  {escaped(target)}  {done.repositories} repositories, {done.files} files: {done.written} written, "
        f"{done.removed} removed, received {shown_size(done.received)}, {seconds:.0f} s"
    )
    return Row((target, str(done.written), str(done.removed)), shape, sentence=sentence)
