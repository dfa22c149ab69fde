"""The installed `entrepot` where this machine's files cannot be read or written: exit code, message, nothing left."""

import os
import resource
import subprocess
from pathlib import Path

import pytest

from tests.running import RunningServer
from tests.shells import SCRIPT, Shell, shell_in

REF = "object:disk/d/x"


@pytest.fixture(scope="module")
def shell(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    folder = tmp_path_factory.mktemp("disk")
    token = server.user("disk", role="maintainer")
    server.bucket("disk")
    made = shell_in(
        folder, ENTREPOT_SERVER=server.url, ENTREPOT_TOKEN=token, ENTREPOT_CACHE=str(folder / "cache"),
    )  # fmt: skip
    made.file("file", b"local")
    made.file("x", os.urandom(200_000))
    (made.folder / "folder" / "x").mkdir(parents=True)
    os.mkfifo(made.folder / "pipe")
    made("push", "x", REF)
    return made


@pytest.mark.parametrize("words", [("pull", REF), ("cache", "get", REF)], ids=["pull", "get"])
@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("missing/y", "no such file or directory"),
        ("file/y", "not a directory"),
        ("folder/x", "is not a file"),
        ("pipe", "is not a file"),
        ("n" * 300, "file name too long"),
    ],
)
def test_where_no_file_can_appear_the_call_is_wrong(
    shell: Shell, words: tuple[str, ...], target: str, why: str
) -> None:
    if words[0] == "pull" and target == "folder/x":
        target = "folder"
    before = sorted(shell.folder.rglob("*"))
    said = shell.fails(2, *words, "-O", target)
    assert said.startswith("error[usage]: ")
    assert why in said
    assert sorted(shell.folder.rglob("*")) == before


@pytest.mark.parametrize("target", ["file", "file/y"])
def test_a_folder_that_cannot_be_made_is_a_wrong_call(shell: Shell, target: str) -> None:
    assert "error[usage]" in shell.fails(2, "pull", "object:disk/d/", "-O", target)


@pytest.mark.parametrize(
    ("code", "source"),
    [(3, "missing"), (3, "missing/"), (3, "file/y"), (3, "file/"), (2, "pipe"), (2, "n" * 300)],
)
def test_what_cannot_be_pushed_is_told_by_its_kind(shell: Shell, code: int, source: str) -> None:
    shell.fails(code, "push", source, "object:disk/pushed/")


def limited(shell: Shell, *words: str) -> "subprocess.CompletedProcess[bytes]":
    """A command whose files have at most 100 kB."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    return subprocess.run(
        [SCRIPT, *words], preexec_fn=limit, cwd=shell.folder, env=shell.environ, capture_output=True, timeout=90
    )


@pytest.mark.parametrize("words", [("pull", REF), ("cache", "get", REF)], ids=["pull", "get"])
def test_no_room_for_a_file_is_a_limit(shell: Shell, words: tuple[str, ...]) -> None:
    done = limited(shell, *words, "-O", "y")
    assert (done.returncode, done.stdout) == (8, b"")
    assert b"error[limit]: no room " in done.stderr
    assert not (shell.folder / "y").exists()


@pytest.mark.parametrize("words", [("pull", REF, "-O", "-"), ("ls", "object:disk"), ("ls", "object:disk", "--json")])
def test_no_room_for_standard_output_is_a_limit(shell: Shell, words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [SCRIPT, *words, "-q"], stdout=full, stderr=subprocess.PIPE, env=shell.environ, timeout=90
        )
    assert done.returncode == 8
    assert b"standard output" in done.stderr
    assert b"Exception" not in done.stderr


def test_without_permission_it_is_denied(shell: Shell) -> None:
    closed = shell.folder / "closed"
    closed.mkdir(mode=0)
    if os.access(closed, os.W_OK):
        pytest.skip("this user may write everywhere")
    for words in (("pull", REF, "-O", "closed/y"), ("cache", "get", REF, "-O", "closed/y"), ("push", "closed/y", REF)):
        assert "error[denied]" in shell.fails(4, *words)


@pytest.mark.parametrize("place", ["file", "file/cache", "/proc/no/cache"])
def test_a_node_cache_that_cannot_be_made_names_its_variable(shell: Shell, place: str) -> None:
    said = shell.run("cache", "get", REF, ENTREPOT_CACHE=place)
    assert said.returncode in (2, 10)
    assert b"ENTREPOT_CACHE" in said.stderr


def test_a_closed_standard_input_cannot_be_pushed(shell: Shell) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "{SCRIPT}" push - {REF} <&-'], env=shell.environ, capture_output=True, timeout=90
    )
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, b"error[usage]: standard input is closed")
