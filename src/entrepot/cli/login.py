"""`login` and `logout`: a token of this user for a server."""

import json
import os
import sys
from collections.abc import Mapping
from typing import Final

import click

from entrepot.cli.output import Row
from entrepot.cli.reports import LoginReport
from entrepot.cli.session import Session, command
from entrepot.client import accounts, api
from entrepot.client.login import (
    forget_token,
    home,
    host_of,
    keep_token,
    kept_token,
    sound_token,
    token_claims,
    write_secret,
)
from entrepot.client.profiles import add_profile
from entrepot.client.settings import is_here, read_token_file
from entrepot.errors import EntrepotError, Unsupported, UsageError

_KNOWN: Final = ("prominence",)
_LATER: Final = ("docker", "apptainer", "aws", "openstack")


@command(
    "login",
    click.Argument(["host"], required=False),
    click.Option(["--user"], metavar="NAME", help="Log in by name and password."),
    click.Option(["--password-stdin"], is_flag=True, help="Read the password from standard input."),
    click.Option(["--token-stdin"], is_flag=True, help="Read a token from standard input."),
    click.Option(["--device"], is_flag=True, help="Log in with a browser (in a later version)."),
    click.Option(["--oidc-env"], is_flag=True, help="With the token of a CI job (in a later version)."),
    click.Option(["--also"], metavar="LIST", help="Give the token to other clients too: prominence."),
    help="Keep a token for HOST. Without a flag it asks for name and password; --token-file takes a token from a file.",
)
def login(
    session: Session,
    host: str | None,
    user: str | None,
    password_stdin: bool,
    token_stdin: bool,
    device: bool,
    oidc_env: bool,
    also: str | None,
) -> None:
    """Prove who it is, keep the token, say until when."""
    if device or oidc_env:
        raise Unsupported("this way to log in is not in this version yet", advice="--user NAME or --token-stdin")
    others = _others(also)
    here = session.at(host) if host else session
    server = here.settings.server()
    token = _given_token(here, token_stdin=token_stdin)
    if token is None:
        _refuse_plain(here, server)
        token, report = _by_password(here, server, user, password_stdin=password_stdin)
    else:
        with here.client(token=token) as client:
            me = client.run(api.me())
        report = LoginReport(server, me.name, me.expires)
    environ = here.settings.environ
    keep_token(environ, host_of(server), token)
    name = add_profile(environ, host_of(server), server)
    for other in others:
        _give(environ, other, token)
    session.say(f"logged in; profile {name}")
    fields = (host_of(server), report.user, report.expires or "")
    session.output.add(Row(fields, report))


def _given_token(session: Session, *, token_stdin: bool) -> str | None:
    if token_stdin:
        return sound_token(sys.stdin.read(65536))
    file = session.settings.flags.get("token_file")
    return read_token_file(file) if file else None


def _by_password(session: Session, server: str, user: str | None, *, password_stdin: bool) -> tuple[str, LoginReport]:
    if user is None:
        if not session.may_ask:
            raise UsageError(
                "no token is given", why="without a terminal nothing asks", advice="--token-stdin or --user"
            )
        user = click.prompt("User", err=True)
        assert user is not None
    if password_stdin:
        password = sys.stdin.readline(4096).rstrip("\r\n")
    else:
        password = session.ask_secret("Password", "--password-stdin or --token-stdin")
    with session.client(token="") as client:
        answer = client.run(accounts.log_in(user, password))
    return answer.token, LoginReport(server, answer.user, answer.expires)


def _refuse_plain(session: Session, server: str) -> None:
    is_plain = server.startswith("http://") and not is_here(server.removeprefix("http://"))
    if is_plain and not session.settings.is_on("insecure"):
        why = "it would travel in the clear"
        raise UsageError(f"no password goes to {server}", why=why, advice="https, or --insecure")


def _others(also: str | None) -> list[str]:
    names = [name.strip() for name in (also or "").split(",") if name.strip()]
    for name in names:
        if name in _LATER:
            raise Unsupported(f"--also {name} is not in this version yet")
        if name not in _KNOWN:
            raise UsageError(f"--also does not know {name!r}", why=f"it knows {', '.join((*_KNOWN, *_LATER))}")
    return names


def _give(environ: Mapping[str, str], other: str, token: str) -> None:
    if other == "prominence":
        # the PROMINENCE client takes a bare token for an expired one
        path = os.path.join(home(environ), ".prominence", "token")
        write_secret(path, json.dumps({"access_token": token}))


@command(
    "logout",
    click.Argument(["host"], required=False),
    help="Forget the token for HOST and end it on the server.",
)
def logout(session: Session, host: str | None) -> None:
    """End the token, then forget it."""
    here = session.at(host) if host else session
    server = here.settings.server()
    environ, name = here.settings.environ, host_of(server)
    token = kept_token(environ, name)
    if token is None:
        session.say(f"no token was kept for {name}")
        return
    claims = token_claims(token)
    try:
        with here.client(token=token) as client:
            client.run(accounts.remove("tokens", str(claims.get("jti", ""))))
    except EntrepotError as error:
        session.say(f"the token was not ended on the server: {error.what}")
    forget_token(environ, name)
    user = str(claims.get("username", ""))
    session.output.add(Row((name, user, ""), LoginReport(server, user)))
