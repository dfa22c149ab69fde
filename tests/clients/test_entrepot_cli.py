"""The installed `entrepot` against a real server over a real socket: stdout byte by byte, exit codes by real causes."""

import hashlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from entrepot.cli.reports import CacheEntryReport, PullReport, PushReport, RemoveReport
from entrepot.shapes import BucketShape, ObjectShape, PrefixShape
from tests.running import RunningServer, free_port
from tests.shells import SCRIPT, Shell, shell_in

MIB = 2**20


@pytest.fixture
def shell(server: RunningServer, tmp_path: Path) -> Shell:
    token = server.user("cli", role="maintainer")
    server.bucket("files")
    return shell_in(tmp_path, ENTREPOT_SERVER=server.url, ENTREPOT_TOKEN=token)


@pytest.fixture
def admin(server: RunningServer, tmp_path: Path) -> Shell:
    return shell_in(tmp_path / "admin", ENTREPOT_SERVER=server.url, ENTREPOT_TOKEN=server.admin_token)


@pytest.fixture
def bucket(server: RunningServer, request: pytest.FixtureRequest) -> str:
    return server.bucket(f"b{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}")


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 3 * MIB, 70 * MIB])
def test_what_is_pushed_is_pulled_and_nothing_is_sent_twice(shell: Shell, bucket: str, size: int) -> None:
    digest = shell.file("x", os.urandom(MIB) * (size // MIB) + os.urandom(size % MIB))
    ref = f"object:{bucket}/a/x"
    assert shell("push", "x", ref) == f"{ref}\t{digest}\n"
    assert shell("pull", ref, "-O", "y") == "y\n"
    assert (shell.folder / "y").read_bytes() == (shell.folder / "x").read_bytes()
    assert not (shell.folder / "y.part").exists()
    if size > 65536:
        again = msgspec.json.decode(shell("push", "x", ref, "--json"), type=PushReport)
        assert (again.sent, again.saved, again.digest) == (0, size, digest)
    assert shell.run("pull", digest, "-O", "-").stdout == (shell.folder / "x").read_bytes()


def test_without_a_reference_a_file_goes_to_files(server: RunningServer, tmp_path: Path) -> None:
    token = server.user("cli", role="maintainer")
    server.call("POST", "/projects", {"name": "fresh"})
    server.call("PUT", "/roles", {"principal": "cli", "project": "fresh", "role": "writer"})
    shell = shell_in(tmp_path, ENTREPOT_SERVER=server.url, ENTREPOT_TOKEN=token, ENTREPOT_PROJECT="fresh")
    digest = shell.file("app.sif", b"SIF")
    assert shell("push", "app.sif") == f"object:fresh:files/app.sif\t{digest}\n"


def test_standard_input_and_output_are_files_too(shell: Shell, bucket: str) -> None:
    content = os.urandom(20 * MIB)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    ref = f"object:{bucket}/stream"
    assert shell("push", "-", ref, stdin=content) == f"{ref}\t{digest}\n"
    assert shell.run("pull", ref, "-O", "-").stdout == content
    assert shell("push", "-", f"object:{bucket}/short", stdin=b"hello").endswith("\n")


def test_folders_go_and_come_as_rsync_means_them(shell: Shell, bucket: str) -> None:
    for name in ("a", "sub/b", "sub/ü c"):
        shell.file(f"dir/{name}", name.encode())
    inside = shell("push", "dir/", f"object:{bucket}/in/").splitlines()
    assert [line.split("\t")[0] for line in inside] == [
        f"object:{bucket}/in/a", f"object:{bucket}/in/sub/b", f"object:{bucket}/in/sub/ü c",
    ]  # fmt: skip
    shell("push", "dir", f"object:{bucket}/out")
    assert shell("ls", f"object:{bucket}/out/", "-R").splitlines()[0] == f"object:{bucket}/out/dir/a"
    shell("pull", f"object:{bucket}/in/", "-O", "back")
    assert (shell.folder / "back/sub/ü c").read_bytes() == "sub/ü c".encode()


def test_names_are_listed_inspected_and_removed(shell: Shell, bucket: str) -> None:
    digest = shell.file("x", b"hello")
    shell("push", "x", f"object:{bucket}/d/x", "--label", "a=b", "--expires", "14d")
    shell("push", "x", f"object:{bucket}/y")
    assert shell("ls", f"object:{bucket}") == f"object:{bucket}/d/\nobject:{bucket}/y\n"
    assert shell("ls", f"object:{bucket}/y", "-l").split("\t")[:3] == [f"object:{bucket}/y", "5", digest]
    facts = dict(line.split("\t") for line in shell("inspect", f"object:{bucket}/d/x").splitlines())
    assert (facts["digest"], facts["size"], facts["label.a"]) == (digest, "5", "b")
    assert facts["expires"]
    assert shell("rm", f"object:{bucket}/y") == f"object:{bucket}/y\t5\n"
    assert "--yes" in shell.fails(2, "rm", f"object:{bucket}/")
    assert shell("rm", "-y", f"object:{bucket}/") == f"object:{bucket}/d/x\t5\n"


def test_json_is_decoded_by_its_shapes(shell: Shell, bucket: str) -> None:
    shell.file("x", b"hello")
    ref = f"object:{bucket}/d/x"
    pushed = msgspec.json.decode(shell("--json", "push", "x", ref), type=PushReport)
    assert (pushed.schema, pushed.ref, pushed.sent, pushed.quota is not None) == (1, ref, 5, True)
    assert pushed.urls["http"].endswith(f"/api/v1/objects/{bucket}/d/x")
    kinds: dict[str, type] = {
        "ls": BucketShape, f"ls object:{bucket}/": PrefixShape, f"ls -R object:{bucket}/": ObjectShape,
        f"inspect {ref}": ObjectShape, f"pull {ref} -O z": PullReport, f"rm {ref}": RemoveReport,
    }  # fmt: skip
    for words, shape in kinds.items():
        for line in shell(*words.split(), "--json").splitlines():
            msgspec.json.decode(line, type=shape)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_push_that_was_stopped_continues(shell: Shell, bucket: str, number: int, code: int) -> None:
    digest = shell.file("big", os.urandom(80 * MIB))
    process = shell.begin("push", "big", f"object:{bucket}/big", "--bwlimit", "20M", "-j", "1", "-v")
    assert process.stderr
    for line in process.stderr:
        if line.startswith(b"PUT part at 16777216: 204"):
            break
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == code
    report = msgspec.json.decode(shell("push", "big", f"object:{bucket}/big", "--json"), type=PushReport)
    assert report.saved >= 32 * MIB
    assert report.sent + report.saved == 80 * MIB
    assert report.digest == digest


def test_a_pull_that_was_killed_continues(shell: Shell, bucket: str) -> None:
    digest = shell.file("big", os.urandom(80 * MIB))
    ref = f"object:{bucket}/big"
    shell("push", "big", ref)
    part = shell.folder / "y.part"

    process = shell.begin("pull", ref, "-O", "y", "--bwlimit", "20M", "-j", "2")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (part.exists() and part.stat().st_size >= 16 * MIB):
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=30)
    assert not (shell.folder / "y").exists()
    report = msgspec.json.decode(shell("pull", ref, "-O", "y", "--json"), type=PullReport)
    assert report.saved >= 16 * MIB
    assert (report.digest, report.received + report.saved) == (digest, 80 * MIB)
    part.write_bytes(b"bytes of something else")
    (shell.folder / "y").unlink()
    shell("pull", ref, "-O", "y")
    assert hashlib.sha256((shell.folder / "y").read_bytes()).hexdigest() == digest.removeprefix("sha256:")


def test_each_exit_code_has_a_cause(shell: Shell, server: RunningServer, bucket: str) -> None:
    shell.file("x", b"hello")
    shell.file("z", os.urandom(200_000))
    ref = f"object:{bucket}/x"
    shell("push", "x", ref)
    assert "error[usage]" in shell.fails(2, "push", "x", "object:nokey")
    assert "error[usage]" in shell.fails(2, "push", "--no-such-flag")
    assert "error[not-found]" in shell.fails(3, "pull", f"object:{bucket}/missing")
    assert "error[not-found]" in shell.fails(3, "push", "missing", ref)
    assert "--make-bucket" in shell.fails(3, "push", "x", "object:no-such-bucket/x")
    assert "error[denied]" in shell.fails(4, "push", "x", ref, ENTREPOT_TOKEN="a.b.c")
    assert "error[checksum]" in shell.fails(6, "push", "x", ref, "--sha256", "0" * 64)
    assert "error[conflict]" in shell.fails(7, "push", "z", ref, "--if-absent")
    assert "error[nothing]" in shell.fails(9, "pull", ref, "-O", "x", "--error-on-no-transfer")
    assert "not in this version yet" in shell.fails(10, "push", "x", "phys/x:1")
    assert "not in this version yet" in shell.fails(10, "run", "x")
    nobody = shell.fails(5, "ls", ENTREPOT_SERVER=f"http://127.0.0.1:{free_port()}")
    assert "error[temporary]: cannot connect" in nobody


def test_a_quota_is_told_before_the_first_byte(shell: Shell, admin: Shell) -> None:
    admin("admin", "project", "add", "tight", "--quota", "100k")
    admin("admin", "role", "add", "cli", "tight", "maintainer")
    shell.file("x", os.urandom(200_000))
    assert "error[limit]" in shell.fails(8, "-p", "tight", "push", "x")
    assert admin("admin", "project", "set", "tight", "--quota", "none").startswith("tight\t0\t\t")


def test_a_reader_that_has_enough_is_a_failure_without_noise(shell: Shell, bucket: str) -> None:
    shell.file("x", b"hello")
    shell("push", "x", f"object:{bucket}/x")
    process = subprocess.Popen(
        [SCRIPT, "ls", f"object:{bucket}/"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=shell.environ
    )
    assert process.stdout
    process.stdout.close()
    assert process.stderr
    assert (process.stderr.read(), process.wait(30)) == (b"", 1)
    process.stderr.close()


def test_an_error_is_a_json_object_where_results_are(shell: Shell, bucket: str) -> None:
    said = json.loads(shell.fails(3, "pull", f"object:{bucket}/missing", "--json").splitlines()[-1])
    assert set(said) == {"type", "code", "exit", "message", "why", "try"}
    assert (said["type"], said["code"], said["exit"]) == ("error", "not-found", 3)


def test_with_q_only_results_and_errors_are_told(shell: Shell, bucket: str) -> None:
    digest = shell.file("x", os.urandom(MIB))
    done = shell.run("push", "x", f"object:{bucket}/x", "-q", "-v", ENTREPOT_PROGRESS="json")
    assert (done.stdout.decode(), done.stderr) == (f"object:{bucket}/x\t{digest}\n", b"")


def test_progress_for_programs_is_lines_of_json(shell: Shell, bucket: str) -> None:
    shell.file("x", os.urandom(MIB))
    lines = shell.run("push", "x", f"object:{bucket}/x", "--progress", "json").stderr.decode().splitlines()
    assert all(json.loads(line)["type"] == "progress" for line in lines)
    assert json.loads(lines[-1])["phase"] == "commit"


def test_a_dry_run_changes_nothing(shell: Shell, bucket: str) -> None:
    shell.file("x", b"hello")
    assert shell("push", "x", f"object:{bucket}/x", "-n") == ""
    assert shell("ls", f"object:{bucket}/") == ""
    shell("push", "x", f"object:{bucket}/x")
    assert shell("rm", f"object:{bucket}/x", "-n") == ""
    assert shell("ls", f"object:{bucket}/") == f"object:{bucket}/x\n"


def test_the_node_cache_is_filled_and_then_hit(shell: Shell, bucket: str, tmp_path: Path) -> None:
    digest = shell.file("x", os.urandom(MIB))
    shell("push", "x", f"object:{bucket}/x")
    shell.environ["ENTREPOT_CACHE"] = str(tmp_path / "cache")
    assert "--offline" in shell.fails(3, "cache", "get", digest, "--offline")
    path = shell("cache", "get", f"object:{bucket}/x").rstrip("\n")
    assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == digest.removeprefix("sha256:")
    hit = shell.run("cache", "get", digest, ENTREPOT_SERVER="http://127.0.0.1:9")
    assert hit.stdout.decode() == f"{path}\n"
    assert msgspec.json.decode(shell("cache", "ls", "--json"), type=CacheEntryReport).digest == digest
    assert shell("cache", "pin", digest) == f"{digest}\t\n"
    assert shell("cache", "prune", "--max-bytes", "0") == ""
    assert shell("cache", "verify").endswith("\tright\n")
    os.chmod(path, 0o644)
    with open(path, "r+b") as file:
        file.write(b"spoiled")
    assert digest in shell.fails(6, "cache", "verify")
    assert shell("cache", "dir") == f"{tmp_path}/cache\n"
