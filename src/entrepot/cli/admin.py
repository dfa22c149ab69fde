"""`admin NOUN add|ls|set|rm`: what only some may do."""

from typing import Final

from entrepot.cli.lazy import LazyGroup, Line

_NOUNS: Final = {
    "user": ("users", "users who log in", ("add", "ls", "set", "rm")),
    "robot": ("robots", "robots of a project", ("add", "ls", "rm")),
    "project": ("projects", "projects and their quota", ("add", "ls", "set", "rm")),
    "role": ("roles", "who may do what in a project", ("add", "ls", "set", "rm")),
    "token": ("tokens", "tokens", ("add", "ls", "rm")),
    "key": ("keys", "access keys", ("add", "ls", "rm")),
}
_VERBS: Final = {
    "add": "Make one of the {}.",
    "ls": "List {}.",
    "set": "Change one of the {}.",
    "rm": "Remove one of the {}.",
}


def _group(noun: str) -> LazyGroup:
    module, words, verbs = _NOUNS[noun]
    lines = {verb: Line(f"entrepot.cli.admin_{module}", f"{verb}_{noun}", _VERBS[verb].format(words)) for verb in verbs}
    return LazyGroup(noun, lines=lines, help=f"{words[0].upper()}{words[1:]}.")


user: Final = _group("user")
robot: Final = _group("robot")
project: Final = _group("project")
role: Final = _group("role")
token: Final = _group("token")
key: Final = _group("key")

admin: Final = LazyGroup(
    "admin",
    lines={
        noun: Line("entrepot.cli.admin", noun, f"{words[0].upper()}{words[1:]}.")
        for noun, (_, words, _) in _NOUNS.items()
    },
    later=frozenset({"trust", "rule", "webhook"}),
    help="Users, robots, projects, roles, tokens and keys, through the server.",
)
