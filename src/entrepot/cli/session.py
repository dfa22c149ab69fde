"""What every command works with: settings, output, lines for people, and a client when it asks for one."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from entrepot.cli.colors import has_color
from entrepot.cli.flags import global_flags
from entrepot.cli.output import Output, Style
from entrepot.cli.wording import escaped, size_of
from entrepot.client.reference import BlobRef, ObjectRef, parse_known
from entrepot.client.settings import Settings
from entrepot.errors import EntrepotError, UsageError

if TYPE_CHECKING:
    from stamina.instrumentation import RetryDetails

    from entrepot.client.remote import Client

_NEED_AN_ANSWER: Final = "without a terminal nothing asks"


@dataclass(frozen=True, slots=True)
class Session:
    """One run of one command."""

    settings: Settings
    output: Output

    def at(self, server: str) -> "Session":
        """The same at another server."""
        return Session(self.settings.at(server), self.output)

    def say(self, text: str) -> None:
        """A line for people on stderr; not with `-q`."""
        if not self.settings.is_on("quiet"):
            print(escaped(text), file=sys.stderr, flush=True)

    @property
    def is_quiet(self) -> bool:
        """True with `-q`."""
        return self.settings.is_on("quiet")

    @property
    def is_dry(self) -> bool:
        """True with `-n`: nothing may change."""
        return self.settings.is_on("dry_run")

    @property
    def wants_details(self) -> bool:
        """True for a person and for JSON: what costs one more question is told."""
        return self.output.style is not Style.PLAIN

    def reference(self, text: str) -> ObjectRef | BlobRef:
        """The object or blob `text` means, in the session's project. Raises: BadName; Unsupported."""
        reference = parse_known(text)
        return reference.within(self.settings.project) if isinstance(reference, ObjectRef) else reference

    def object(self, text: str) -> ObjectRef:
        """As `reference`, no blob. Raises: BadName; Unsupported; UsageError."""
        reference = self.reference(text)
        if isinstance(reference, BlobRef):
            raise UsageError(f"{reference} has no name", why="an object is needed: object:[PROJECT:]BUCKET/KEY")
        return reference

    @contextmanager
    def client(self, *, token: str | None = None) -> "Iterator[Client]":
        """A client of the session's server, closed afterwards; `token` None: the one the settings give."""
        from stamina.instrumentation import set_on_retry_hooks

        from entrepot.client.connect import Trust
        from entrepot.client.remote import Client

        # by default stamina tells of retries on stdout, where only results go
        set_on_retry_hooks([self._tell_of_retry])
        rate = self.settings.text("bwlimit")
        found = (self.settings.token()[0] or "") if token is None else token
        with Client(
            self.settings.server(),
            found,
            self.settings.project,
            trust=Trust(self.settings.text("cacert"), self.settings.is_on("insecure")),
            bytes_per_second=size_of(rate, "--bwlimit") if rate else None,
            connections=self.settings.jobs(),
            notice=self.say if self.settings.is_on("verbose") else None,
        ) as client:
            yield client

    def _tell_of_retry(self, details: "RetryDetails") -> None:
        error = details.caused_by
        what = error.what if isinstance(error, EntrepotError) else type(error).__name__
        self.say(f"{what}; again in {details.wait_for:.1f} s")

    def confirm(self, question: str) -> None:
        """Nothing, if the answer is yes. Raises: UsageError, naming the flag, if nobody can be asked; click.Abort."""
        if self.settings.is_on("yes") or self.is_dry:
            return
        if not self.may_ask:
            raise UsageError(f"{question} Not without --yes", why=_NEED_AN_ANSWER, advice="the same with --yes")
        click.confirm(question, abort=True, err=True)

    @property
    def may_ask(self) -> bool:
        """True if someone sits there."""
        return sys.stdin.isatty() and sys.stderr.isatty() and not self.settings.is_on("no_input")

    def ask_secret(self, what: str, flag: str) -> str:
        """A secret, typed unseen. Raises: UsageError, naming the flag, if nobody can be asked."""
        if not self.may_ask:
            raise UsageError(f"{what} is missing", why=_NEED_AN_ANSWER, advice=flag)
        answer: str = click.prompt(what, hide_input=True, err=True)
        return answer


@contextmanager
def open_session(flags: dict[str, str]) -> Iterator[Session]:
    """A session of these flags; its results are printed if it ends well. Raises: UsageError; Denied."""
    settings = Settings.read(flags, os.environ)
    with Output(style_of(settings)) as output:
        session = Session(settings, output)
        if settings.is_on("insecure"):
            print("warning: --insecure: others can read and change what is sent", file=sys.stderr)
        yield session
        output.flush()


def style_of(settings: Settings) -> Style:
    """How results look. `-q` is for scripts, also on a terminal."""
    if settings.is_on("json"):
        return Style.JSON
    return Style.TERMINAL if sys.stdout.isatty() and not settings.is_on("quiet") else Style.PLAIN


def wants_color(session: Session) -> bool:
    """True if stderr gets colour."""
    return has_color({"color": session.settings.text("color") or "auto"}, sys.stderr)


def command(
    name: str, *params: click.Parameter, help: str, **rest: Any
) -> Callable[[Callable[..., None]], click.Command]:
    """Makes a command of a function that takes a `Session` and the values of `params` by name."""

    def make(act: Callable[..., None]) -> click.Command:
        def callback(**values: Any) -> None:
            with open_session(click.get_current_context().find_root().ensure_object(dict)) as session:
                act(session, **values)

        names = tuple(param.name for param in params if param.name)
        flags = [*params, *global_flags(hidden=True, without=names)]
        return click.Command(name, callback=callback, params=flags, help=help, **rest)

    return make
