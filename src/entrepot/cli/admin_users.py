"""`admin user`."""

import sys

import click

from entrepot.cli.output import Row
from entrepot.cli.session import Session, command
from entrepot.client import accounts
from entrepot.errors import UsageError
from entrepot.shapes import UserChange, UserRequest, UserShape


@command(
    "add",
    click.Argument(["name"]),
    click.Option(["--password-stdin"], is_flag=True, help="Read the password from standard input."),
    click.Option(["--no-password"], is_flag=True, help="One who logs in elsewhere."),
    click.Option(["--admin", "is_admin"], is_flag=True, help="May do everything."),
    help="Make the user NAME; asks for a password.",
)
def add_user(session: Session, name: str, password_stdin: bool, no_password: bool, is_admin: bool) -> None:
    """The new user."""
    if password_stdin and no_password:
        raise UsageError("--password-stdin and --no-password exclude each other")
    password = None if no_password else _password(session, password_stdin=password_stdin)
    with session.client() as client:
        user = client.run(accounts.add("users", UserRequest(name, password, is_admin), UserShape))
    session.output.add(user_row(user))


@command("ls", help="List users.")
def ls_user(session: Session) -> None:
    """One a line."""
    session.output.header("name", "kind", "rights", "state", "project", "created")
    with session.client() as client:
        for user in client.run(accounts.all_of("users", UserShape)):
            session.output.add(user_row(user))


@command(
    "set",
    click.Argument(["name"]),
    click.Option(["--password-stdin"], is_flag=True, help="Read a new password from standard input."),
    click.Option(["--password", "ask"], is_flag=True, help="Ask for a new password."),
    click.Option(["--admin/--no-admin", "is_admin"], default=None, help="May do everything, or not."),
    click.Option(["--disable/--enable", "disabled"], default=None, help="May do nothing, or again."),
    help="Change the user NAME.",
)
def set_user(
    session: Session, name: str, password_stdin: bool, ask: bool, is_admin: bool | None, disabled: bool | None
) -> None:
    """The user as it is then."""
    password = _password(session, password_stdin=password_stdin) if password_stdin or ask else None
    if password is None and is_admin is None and disabled is None:
        raise UsageError("nothing to change", advice="entrepot admin user set --help")
    with session.client() as client:
        change = UserChange(password, is_admin, disabled)
        session.output.add(user_row(client.run(accounts.change("users", name, change, UserShape))))


@command("rm", click.Argument(["name"]), help="Remove the user NAME; what it stored stays.")
def rm_user(session: Session, name: str) -> None:
    """Its name."""
    session.confirm(f"Remove the user {name}?")
    if session.is_dry:
        return
    with session.client() as client:
        client.run(accounts.remove("users", name))
    session.output.add(Row((name,), {"name": name}))


def user_row(user: UserShape) -> Row:
    """A user or robot."""
    rights, state = "admin" if user.admin else "", "disabled" if user.disabled else "active"
    return Row((user.name, user.kind, rights, state, user.project or "", user.created), user)


def _password(session: Session, *, password_stdin: bool) -> str:
    if password_stdin:
        return sys.stdin.readline(4096).rstrip("\r\n")
    return session.ask_secret("New password", "--password-stdin")
