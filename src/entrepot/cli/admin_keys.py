"""`admin key`."""

import click

from entrepot.cli.admin_robots import project_of
from entrepot.cli.output import Row
from entrepot.cli.session import Session, command
from entrepot.client import accounts
from entrepot.shapes import KeyRequest, KeyShape


@command(
    "add",
    click.Argument(["name"]),
    help="Make an access key of the user or robot NAME in the --project; its secret is shown once.",
)
def add_key(session: Session, name: str) -> None:
    """Key and secret."""
    with session.client() as client:
        key = client.run(accounts.add("keys", KeyRequest(name, project_of(session)), KeyShape))
    session.output.add(Row((key.access, key.secret or ""), key))


@command("ls", help="List access keys.")
def ls_key(session: Session) -> None:
    """One a line."""
    session.output.header("key", "of", "project", "created")
    with session.client() as client:
        for key in client.run(accounts.all_of("keys", KeyShape)):
            session.output.add(Row((key.access, key.principal, key.project, key.created), key))


@command("rm", click.Argument(["name"], metavar="KEY"), help="End the access key KEY.")
def rm_key(session: Session, name: str) -> None:
    """Its name."""
    if session.is_dry:
        return
    with session.client() as client:
        client.run(accounts.remove("keys", name))
    session.output.add(Row((name,), {"access": name}))
