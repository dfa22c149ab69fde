"""`admin token`."""

import click

from entrepot.cli.output import Row
from entrepot.cli.session import Session, command
from entrepot.client import accounts
from entrepot.shapes import TokenAnswer, TokenRequest, TokenShape


@command(
    "add",
    click.Argument(["name"]),
    click.Option(["--group", "groups"], metavar="G", multiple=True, help="A group of the user; may be given again."),
    click.Option(["--job"], metavar="ID", help="The batch job it is for."),
    click.Option(["--expires"], metavar="TIME", default="12h", help="How long it lives: 12h, 14d (12h)."),
    help="Make a token of the user NAME; it is shown once.",
)
def add_token(session: Session, name: str, groups: tuple[str, ...], job: str | None, expires: str) -> None:
    """The token itself."""
    with session.client() as client:
        answer = client.run(accounts.add("tokens", TokenRequest(name, list(groups), job, expires), TokenAnswer))
    session.say(f"token {answer.jti} of {answer.user}, good until {answer.expires}")
    session.output.add(Row((answer.token,), answer))


@command("ls", help="List tokens that have not expired.")
def ls_token(session: Session) -> None:
    """One a line."""
    session.output.header("id", "user", "issued", "expires", "state")
    with session.client() as client:
        for one in client.run(accounts.all_of("tokens", TokenShape)):
            state = "revoked" if one.revoked else "good"
            session.output.add(Row((one.jti, one.user, one.issued, one.expires, state), one))


@command("rm", click.Argument(["name"], metavar="ID"), help="End the token ID.")
def rm_token(session: Session, name: str) -> None:
    """Its id."""
    if session.is_dry:
        return
    with session.client() as client:
        client.run(accounts.remove("tokens", name))
    session.output.add(Row((name,), {"jti": name}))
