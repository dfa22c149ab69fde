"""`admin robot`."""

import click

from entrepot.cli.admin_users import user_row
from entrepot.cli.output import Row
from entrepot.cli.session import Session, command
from entrepot.client import accounts
from entrepot.errors import UsageError
from entrepot.shapes import RobotRequest, Secret, UserShape

ROLES = ("guest", "reader", "writer", "maintainer", "owner")


@command(
    "add",
    click.Argument(["name"]),
    click.Option(["--role"], type=click.Choice(ROLES), default="writer", help="What it may do there (writer)."),
    help="Make the robot NAME of the --project; its secret is shown once.",
)
def add_robot(session: Session, name: str, role: str) -> None:
    """Name and secret."""
    wish = {"name": name, "project": project_of(session), "role": role}
    with session.client() as client:
        secret = client.run(accounts.add("robots", RobotRequest(**wish), Secret))  # type: ignore[arg-type]
    session.output.add(Row((secret.name, secret.secret), secret))


@command("ls", help="List robots.")
def ls_robot(session: Session) -> None:
    """One a line."""
    session.output.header("name", "kind", "rights", "state", "project", "created")
    with session.client() as client:
        for robot in client.run(accounts.all_of("robots", UserShape)):
            session.output.add(user_row(robot))


@command("rm", click.Argument(["name"]), help="Remove the robot NAME.")
def rm_robot(session: Session, name: str) -> None:
    """Its name."""
    session.confirm(f"Remove the robot {name}?")
    if session.is_dry:
        return
    with session.client() as client:
        client.run(accounts.remove("robots", name))
    session.output.add(Row((name,), {"name": name}))


def project_of(session: Session) -> str:
    """The project of the flag or the settings. Raises: UsageError, if neither says one."""
    if not session.settings.project:
        raise UsageError("no project is given", advice="--project NAME")
    return session.settings.project
