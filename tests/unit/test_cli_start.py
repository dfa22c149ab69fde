"""What is imported when, and what that costs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from entrepot.cli.program import COMMANDS, LATER

SHOW = "import json, sys; {}; print(json.dumps(sorted(sys.modules)))"


def modules(code: str, **environ: str) -> set[str]:
    """The modules that are there after `code`, in a process of its own."""
    command = [sys.executable, "-I", "-c", SHOW.format(f"sys.path[:0] = {sys.path!r}; {code}")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environ})
    return set(json.loads(done.stdout.splitlines()[-1]))


def ours(found: set[str]) -> set[str]:
    return {name for name in found if name.partition(".")[0] == "entrepot"}


def test_importing_the_package_imports_nothing_else() -> None:
    extra = modules("import entrepot") - modules("pass")
    assert extra == {"entrepot"}


def test_a_hit_of_the_cache_imports_the_standard_library_and_the_cache_only(tmp_path: Path) -> None:
    root = str(tmp_path / "cache")
    content, digest = b"hello", "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    fill = f"""
import contextlib
from entrepot.cache.source import Reply
from entrepot.cache.store import Cache
class Source:
    @contextlib.contextmanager
    def open(self, offset):
        yield Reply({len(content)}, 0, iter([{content!r}]))
Cache.open({root!r}).get({digest!r}, Source())
"""
    subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{fill}"], check=True)
    get = f"sys.argv = ['entrepot', 'cache', 'get', 'sha256:{digest}']; from entrepot.cli import main; main()"
    found = modules(get, ENTREPOT_CACHE=root)
    strangers = {name for name in found if name.partition(".")[0] not in sys.stdlib_module_names | {"__main__"}}
    allowed = {"entrepot", "entrepot.cli", "entrepot.cache"}
    assert {name for name in ours(strangers) if not name.startswith("entrepot.cache.")} <= allowed
    assert not ours(found) & {"entrepot.cli.program", "entrepot.cache.store"}
    slow = {"re", "json", "dataclasses", "typing", "pathlib", "hashlib", "click", "argparse"}
    baseline = modules("pass")
    assert not (found - baseline) & slow


def test_help_imports_no_command() -> None:
    found = modules("from entrepot.cli.program import run; run(['--help'])")
    assert not found & {"msgspec", "httpx2", "rich", "stamina", "entrepot.client.remote", "entrepot.cli.push"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_help_is_there(name: str) -> None:
    from click import Context

    from entrepot.cli.program import root

    command = root.get_command(Context(root), name)
    assert command is not None
    assert name not in LATER


def test_the_clients_come_when_they_are_asked_for() -> None:
    import entrepot

    assert entrepot.Client.__name__ == "Client"
    assert entrepot.AsyncClient.__name__ == "AsyncClient"
    with pytest.raises(AttributeError):
        entrepot.nothing  # type: ignore[attr-defined]  # noqa: B018
