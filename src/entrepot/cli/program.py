"""The root command, and how the process ends: exit code, last lines on stderr."""

import os
import sys
from typing import Final

import click

from entrepot.cli.flags import global_flags
from entrepot.cli.lazy import LazyGroup, Line
from entrepot.errors import EntrepotError, UsageError

COMMANDS: Final = {
    "login": Line("entrepot.cli.login", "login", "Keep a token for a server."),
    "logout": Line("entrepot.cli.login", "logout", "Forget it, here and there."),
    "push": Line("entrepot.cli.push", "push", "Send a file, a folder or standard input."),
    "pull": Line("entrepot.cli.pull", "pull", "Fetch an object, a blob or all below a prefix."),
    "ls": Line("entrepot.cli.ls", "ls", "List buckets or names."),
    "inspect": Line("entrepot.cli.inspect", "inspect", "Show everything known about one name."),
    "rm": Line("entrepot.cli.rm", "rm", "Move objects to the trash."),
    "export-static": Line("entrepot.cli.export_static", "export_static", "Write repositories as static files."),
    "bundle": Line("entrepot.cli.bundle", "bundle", "Write images into one file."),
    "load": Line("entrepot.cli.bundle", "load", "Push the images of such a file."),
    "cache": Line("entrepot.cli.cache", "cache", "The node cache: verified blobs on this machine."),
    "serve": Line("entrepot.cli.serve", "serve", "Run the server."),
    "admin": Line("entrepot.cli.admin", "admin", "Users, robots, projects, roles, tokens, keys."),
    "config": Line("entrepot.cli.config", "config", "Show each setting and where it comes from."),
    "completion": Line("entrepot.cli.topics", "completion", "Print the completion script of a shell."),
    "version": Line("entrepot.cli.topics", "version", "Print the version."),
    "help": Line("entrepot.cli.topics", "help_", "Explain a command, references, settings or an error."),
}
LATER: Final = frozenset(
    """
    run cp mv tag import undelete du why diff share members gc scrub fsck backup restore rebuild migrate doctor
    prominence k5 shim
    """.split()
)
_EPILOG: Final = "The same command again continues. More: entrepot help references, entrepot help settings."

root: Final = LazyGroup(
    "entrepot",
    lines=COMMANDS,
    later=LATER,
    params=[*global_flags(hidden=False)],
    help="One verified store for container images, VM images and job artifacts.",
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def run(argv: list[str]) -> int:
    """The exit code of the command `argv`."""
    flags: dict[str, str] = {}
    try:
        code = root.main(argv, prog_name="entrepot", standalone_mode=False, obj=flags)
    except (EntrepotError, click.ClickException) as error:
        return _failed(_in_our_words(error), argv, flags)
    except BrokenPipeError:
        _drop_output()  # whoever read it has enough
        return 1
    except (KeyboardInterrupt, click.Abort):
        return _interrupted(argv, flags)
    except OSError as error:
        return _failed(EntrepotError("this machine refused", why=error.strerror or type(error).__name__), argv, flags)
    return code if isinstance(code, int) else 0


def _in_our_words(error: EntrepotError | click.ClickException) -> EntrepotError:
    if isinstance(error, EntrepotError):
        return error
    context = getattr(error, "ctx", None)
    path = context.command_path if isinstance(context, click.Context) else "entrepot"
    message = error.format_message() or "a command is missing"
    if type(error).__name__ == "NoArgsIsHelpError":
        message = "a command is missing"
    return UsageError(message.rstrip(".").replace("\n", " "), advice=f"{path} --help")


def _drop_output() -> None:
    """What standard output did not take: the interpreter would try it again as it ends, and change the exit code."""
    try:
        print(end="", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _failed(error: EntrepotError, argv: list[str], flags: dict[str, str]) -> int:
    from entrepot.cli.exits import exit_of, lines, record

    _drop_output()
    if _wants_json(argv, flags):
        import json

        print(json.dumps(record(error)), file=sys.stderr)
    else:
        from entrepot.cli.colors import has_color

        print(*lines(error, color=has_color(flags, sys.stderr)), sep="\n", file=sys.stderr)
    return exit_of(error)


def _interrupted(argv: list[str], flags: dict[str, str]) -> int:
    from entrepot.cli.exits import INTERRUPTED

    message = "interrupted; the same command continues"
    if _wants_json(argv, flags):
        import json

        said = {"type": "error", "code": "interrupted", "exit": INTERRUPTED, "message": message, "why": "", "try": ""}
        print(json.dumps(said), file=sys.stderr)
    else:
        print(message, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    # threads may still wait for an answer nobody needs
    os._exit(INTERRUPTED)


def _wants_json(argv: list[str], flags: dict[str, str]) -> bool:
    told = os.environ.get("ENTREPOT_JSON", "").lower() in ("1", "true", "yes", "on")
    return told or "json" in flags or "--json" in argv
