"""`admin role`."""

import click

from entrepot.cli.admin_robots import ROLES
from entrepot.cli.output import Row
from entrepot.cli.session import Session, command
from entrepot.client import accounts
from entrepot.shapes import RoleShape


def _set(session: Session, name: str, project: str, role: str) -> None:
    wish = {"principal": name, "project": project, "role": role}
    with session.client() as client:
        found = client.run(accounts.change("roles", None, RoleShape(**wish), RoleShape))  # type: ignore[arg-type]
    session.output.add(_row(found))


@command(
    "add",
    click.Argument(["name"]),
    click.Argument(["project"]),
    click.Argument(["role"], type=click.Choice(ROLES)),
    help="Give the user or robot NAME a role in PROJECT.",
)
def add_role(session: Session, name: str, project: str, role: str) -> None:
    """The role."""
    _set(session, name, project, role)


@command("ls", help="List roles.")
def ls_role(session: Session) -> None:
    """One a line."""
    session.output.header("name", "project", "role")
    with session.client() as client:
        for role in client.run(accounts.all_of("roles", RoleShape)):
            session.output.add(_row(role))


@command(
    "set",
    click.Argument(["name"]),
    click.Argument(["project"]),
    click.Argument(["role"], type=click.Choice(ROLES)),
    help="Give the user or robot NAME another role in PROJECT.",
)
def set_role(session: Session, name: str, project: str, role: str) -> None:
    """The role."""
    _set(session, name, project, role)


@command(
    "rm",
    click.Argument(["name"]),
    click.Argument(["project"]),
    help="Take the role of NAME in PROJECT away.",
)
def rm_role(session: Session, name: str, project: str) -> None:
    """Name and project."""
    session.confirm(f"Take the role of {name} in {project} away?")
    if session.is_dry:
        return
    with session.client() as client:
        client.run(accounts.remove("roles", project, name))
    session.output.add(Row((name, project), {"principal": name, "project": project}))


def _row(role: RoleShape) -> Row:
    return Row((role.principal, role.project, role.role), role)
