"""Logging in, administration and what is shown to people, by the installed `entrepot` over a real socket."""

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from entrepot.client.login import host_of
from tests.running import RunningServer
from tests.shells import SCRIPT, Shell, shell_in


@pytest.fixture
def shell(server: RunningServer, tmp_path: Path) -> Shell:
    token = server.user("person", role="maintainer")
    return shell_in(tmp_path, ENTREPOT_SERVER=server.url, ENTREPOT_TOKEN=token)


@pytest.fixture
def admin(server: RunningServer, tmp_path: Path) -> Shell:
    return shell_in(tmp_path / "admin", ENTREPOT_SERVER=server.url, ENTREPOT_TOKEN=server.admin_token)


@pytest.fixture
def bucket(server: RunningServer) -> str:
    return server.bucket("accounts")


@pytest.fixture
def stranger(server: RunningServer, tmp_path: Path) -> Shell:
    """Someone with a name and a password, and nothing on this machine."""
    server.user("visitor", role="maintainer")
    return shell_in(tmp_path / "stranger")


def on_a_terminal(shell: Shell, *words: str) -> tuple[int, str]:
    """Exit code and screen of a command in a terminal."""
    ours, theirs = pty.openpty()
    environ = {**shell.environ, "TERM": "xterm"}
    process = subprocess.Popen(
        [SCRIPT, *words], stdin=theirs, stdout=theirs, stderr=theirs, cwd=shell.folder, env=environ
    )
    os.close(theirs)
    screen = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        screen += piece
    os.close(ours)
    return process.wait(30), screen.decode()


def test_a_password_becomes_a_token_that_the_next_command_uses(server: RunningServer, stranger: Shell) -> None:
    words = ("login", server.url, "--user", "visitor", "--password-stdin", "--also", "prominence")
    host, user, expires = stranger(*words, stdin=b"password of visitor\n").rstrip("\n").split("\t")
    assert (host, user) == (host_of(server.url), "visitor")
    assert expires.endswith("Z")
    home = Path(stranger.environ["HOME"])
    kept = home / ".local/state/entrepot/tokens" / host
    token = kept.read_text().strip()
    assert kept.stat().st_mode & 0o777 == 0o600
    prominence = home / ".prominence/token"
    assert json.loads(prominence.read_text()) == {"access_token": token}
    assert prominence.stat().st_mode & 0o777 == 0o600
    assert "object:" in stranger("ls")
    assert token not in stranger("config", "show")
    assert stranger("logout").startswith(f"{host}\tvisitor")
    assert not kept.exists()
    assert "error[denied]" in stranger.fails(4, "ls", ENTREPOT_TOKEN=token)


def test_a_wrong_password_or_token_keeps_nothing(server: RunningServer, stranger: Shell) -> None:
    words = ("login", server.url, "--user", "visitor", "--password-stdin")
    assert "error[denied]" in stranger.fails(4, *words, stdin=b"wrong\n")
    assert "error[denied]" in stranger.fails(4, "login", server.url, "--token-stdin", stdin=b"a.b.c\n")
    assert "--token-stdin" in stranger.fails(2, "login", server.url)
    assert "in the clear" in stranger.fails(
        2, "login", "http://192.0.2.1", "--user", "x", "--password-stdin", stdin=b"x"
    )
    assert not (Path(stranger.environ["HOME"]) / ".local").exists()


def test_a_token_by_file_or_standard_input_is_kept(server: RunningServer, stranger: Shell) -> None:
    token = server.user("visitor")
    (stranger.folder / "t").write_text(token)
    assert "\tvisitor\t" in stranger("login", server.url, "--token-file", "t")
    assert "\tvisitor\t" in stranger("login", server.url, "--token-stdin", stdin=token.encode())
    assert "object:" in stranger("ls", "-v")


def test_a_verbose_run_shows_no_secret(shell: Shell, bucket: str) -> None:
    (shell.folder / "x").write_bytes(os.urandom(3 * 2**20))
    done = shell.run("push", "x", f"object:{bucket}/x", "-v")
    said = done.stderr.decode()
    assert "part at 0: 204" in said
    assert shell.environ["ENTREPOT_TOKEN"] not in said
    assert "/uploads/" not in said


def test_users_robots_projects_roles_tokens_and_keys_are_administered(server: RunningServer, admin: Shell) -> None:
    assert admin("admin", "user", "add", "ada", "--password-stdin", stdin=b"a long password\n").startswith(
        "ada\tuser\t"
    )
    assert "ada\tuser\t\tactive" in admin("admin", "user", "ls")
    assert "\tdisabled\t" in admin("admin", "user", "set", "ada", "--disable")
    admin("admin", "user", "set", "ada", "--enable")
    assert admin("admin", "project", "add", "phys", "--quota", "1G").split("\t")[:3] == ["phys", "0", str(2**30)]
    assert admin("admin", "role", "add", "ada", "phys", "owner") == "ada\tphys\towner\n"
    assert "ada\tphys\towner\n" in admin("admin", "role", "ls")
    token = admin("admin", "token", "add", "ada", "--group", "g", "--job", "7", "--expires", "1h").strip()
    assert token.count(".") == 2
    assert server.call("GET", "/me", token=token)["groups"] == ["g"]
    assert "not the name of a job: 'a/b'" in admin.fails(2, "admin", "token", "add", "ada", "--job", "a/b")
    access, secret = admin("admin", "key", "add", "ada", "--project", "phys").rstrip("\n").split("\t")
    assert secret
    assert f"{access}\tada\tphys" in admin("admin", "key", "ls")
    name, password = admin("admin", "robot", "add", "bot", "--project", "phys").rstrip("\n").split("\t")
    assert (name, bool(password)) == ("bot", True)
    identity = json.loads(admin("admin", "token", "ls", "--json").splitlines()[-1])["jti"]
    assert admin("admin", "token", "rm", identity) == f"{identity}\n"
    assert "--yes" in admin.fails(2, "admin", "robot", "rm", "bot")
    for words in (
        "key rm " + access, "robot rm bot", "role rm ada phys", "user rm ada", "project rm phys",
    ):  # fmt: skip
        admin("admin", *words.split(), "-y")


def test_who_may_not_administer_is_told_so(shell: Shell) -> None:
    assert "error[denied]" in shell.fails(4, "admin", "user", "ls")
    assert "no project" in shell.fails(2, "admin", "key", "add", "x")


def test_people_get_tables_and_sentences(shell: Shell, bucket: str) -> None:
    (shell.folder / "x").write_bytes(b"hello")
    code, screen = on_a_terminal(shell, "push", "x", f"object:{bucket}/x")
    assert code == 0
    assert f"ok  object:{bucket}/x  sha256:2cf24dba…9824  sent 5 B" in screen
    code, screen = on_a_terminal(shell, "ls", "-l", f"object:{bucket}/")
    assert f"object:{bucket}/x  5 B  sha256:2cf24dba…9824" in screen
    code, screen = on_a_terminal(shell, "-q", "ls", "-l", f"object:{bucket}/")
    assert f"object:{bucket}/x\t5\tsha256:2cf24dba5f" in screen


def test_tls_is_checked_against_the_certificates_that_are_given(tls_server: RunningServer, tmp_path: Path) -> None:
    shell = shell_in(tmp_path, ENTREPOT_SERVER=tls_server.url, ENTREPOT_TOKEN=tls_server.admin_token)
    assert "not trusted" in shell.fails(10, "ls")
    assert tls_server.cafile
    assert "object:" in shell("ls", "--cacert", tls_server.cafile) + "object:"
    assert b"warning: --insecure" in shell.run("ls", "--insecure").stderr


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_completion_script(shell: Shell, name: str) -> None:
    assert "_ENTREPOT_COMPLETE" in shell("completion", name)


def test_bash_completes_commands_and_flags(shell: Shell) -> None:
    def complete(words: str, position: int) -> str:
        done = shell.run(_ENTREPOT_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(position))
        return done.stdout.decode()

    assert complete("entrepot pu", 1) == "plain,push\nplain,pull\n"
    assert "plain,prune" in complete("entrepot cache p", 2)
    assert "plain,--if-absent" in complete("entrepot push --if", 2)


def test_help_and_version_need_no_network(shell: Shell) -> None:
    shell.environ["ENTREPOT_SERVER"] = "http://127.0.0.1:9"
    assert shell("version").count(".") == 2
    assert "object:" in shell("help", "references")
    assert "--if-absent" in shell("help", "push")
    assert "Usage: entrepot admin user add" in shell("help", "admin", "user", "add")
    shell.fails(3, "help", "nothing")
