"""`admin project`."""

import click

from entrepot.cache.wording import shown_size
from entrepot.cli.output import Row
from entrepot.cli.session import Session, command
from entrepot.cli.wording import size_of
from entrepot.client import accounts
from entrepot.shapes import ProjectRequest, ProjectShape


def _quota(text: str | None) -> int | None:
    return None if text is None or text == "none" else size_of(text, "--quota")


@command(
    "add",
    click.Argument(["name"]),
    click.Option(["--quota"], metavar="SIZE", help="Bytes it may hold: 200G, none."),
    help="Make the project NAME.",
)
def add_project(session: Session, name: str, quota: str | None) -> None:
    """The new project."""
    with session.client() as client:
        made = client.run(accounts.add("projects", ProjectRequest(name, _quota(quota)), ProjectShape))
    session.output.add(_row(made))


@command("ls", help="List projects.")
def ls_project(session: Session) -> None:
    """One a line: name, used, quota, reserved."""
    session.output.header("name", "used", "quota", "reserved")
    with session.client() as client:
        for project in client.run(accounts.all_of("projects", ProjectShape)):
            session.output.add(_row(project))


@command(
    "set",
    click.Argument(["name"]),
    click.Option(["--quota"], metavar="SIZE", required=True, help="Bytes it may hold: 200G, none."),
    help="Change the quota of the project NAME.",
)
def set_project(session: Session, name: str, quota: str) -> None:
    """The project as it is then."""
    with session.client() as client:
        wish = ProjectRequest(name, _quota(quota))
        session.output.add(_row(client.run(accounts.change("projects", name, wish, ProjectShape))))


@command("rm", click.Argument(["name"]), help="Remove the project NAME, which must hold nothing.")
def rm_project(session: Session, name: str) -> None:
    """Its name."""
    session.confirm(f"Remove the project {name}?")
    if session.is_dry:
        return
    with session.client() as client:
        client.run(accounts.remove("projects", name))
    session.output.add(Row((name,), {"name": name}))


def _row(project: ProjectShape) -> Row:
    quota = "" if project.quota is None else str(project.quota)
    shown = "none" if project.quota is None else shown_size(project.quota)
    return Row(
        (project.name, str(project.used), quota, str(project.reserved)),
        project,
        (project.name, shown_size(project.used), shown, shown_size(project.reserved)),
    )
