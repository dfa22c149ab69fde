"""The unmodified `prominence` 0.21.0, the scripts of its documentation, and what its workers and job servers send."""

import hashlib
import os
import re
import secrets
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import boto3
import prominence  # type: ignore[import-untyped]
import pytest
import requests
from botocore.config import Config
from prominence.exceptions import FileUploadError  # type: ignore[import-untyped]

from tests.asking import DataApi, someone
from tests.running import RunningServer

CLI = Path(sysconfig.get_path("scripts")) / "prominence"
SEED_SCRIPTS = Path(__file__).parent / "seed_scripts"
NAMES = ("two words.sif", "größe-Ω-画像-🧪.sif", "a+b&c=d;e,f'g%.sif", 'quo"te.sif', "é" * 500, "x" * 1000)
META = "x-amz-meta-prominence_sha256"


@pytest.fixture(params=["http", "tls"])
def place(request: pytest.FixtureRequest) -> RunningServer:
    """A server over http, and one over TLS."""
    found: RunningServer = request.getfixturevalue("server" if request.param == "http" else "tls_server")
    return found


def environment(who: DataApi, base: str, home: Path) -> dict[str, str]:
    found = {"PATH": os.defpath, "HOME": str(home), "PYTHONUTF8": "1"}
    found |= {"PROMINENCE_URL": who.server.url + base, "PROMINENCE_TOKEN": who.token or ""}
    return found | ({"REQUESTS_CA_BUNDLE": who.server.cafile} if who.server.cafile else {})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder a client runs in."""
    return tmp_path


def run(who: DataApi, home: Path, *command: str | Path, base: str = "/prominence/v1") -> tuple[int, str]:
    """Exit code and all that was printed."""
    done = subprocess.run(
        [sys.executable, *command], env=environment(who, base, home), cwd=home, timeout=60, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
    )  # fmt: skip
    return done.returncode, done.stdout


def cli(who: DataApi, home: Path, *args: str, base: str = "/prominence/v1") -> tuple[int, str]:
    return run(who, home, CLI, *args, base=base)


def client(who: DataApi, monkeypatch: pytest.MonkeyPatch) -> prominence.ProminenceClient:
    """The Python client, in this process."""
    for name, value in environment(who, who.base, Path()).items():
        if name.startswith(("PROMINENCE", "REQUESTS")):
            monkeypatch.setenv(name, value)
    return prominence.ProminenceClient(authenticated=True)


def stored_files(server: RunningServer) -> set[Path]:
    """Everything the server keeps of bodies, arrived or arriving."""
    return {path for folder in ("blobs", "staging") for path in (server.data / folder).rglob("*") if path.is_file()}


def test_upload_list_and_remove_as_the_manual_shows(place: RunningServer, home: Path) -> None:
    bob = someone(place, "vo")
    data = secrets.token_bytes(100_000)
    (home / "myimage.sif").write_bytes(data)
    assert cli(bob, home, "upload", "--filename", "myimage.sif", "--name", "myimage.sif") == (0, "Success\n")
    assert cli(bob, home, "ls") == (0, "myimage.sif\n")
    code, long = cli(bob, home, "ls", "-l")
    assert code == 0
    assert re.fullmatch(r"myimage\.sif +100000 +\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\n", long)
    assert bob.get("myimage.sif") == data
    assert cli(bob, home, "rm", "myimage.sif") == (0, "Success\n")
    assert cli(bob, home, "ls") == (0, "")


def test_the_checksum_goes_along_by_itself_or_as_given(server: RunningServer, home: Path) -> None:
    bob = someone(server)
    data = secrets.token_bytes(50_000)
    digest = hashlib.sha256(data).hexdigest()
    (home / "a").write_bytes(data)
    assert cli(bob, home, "upload", "--filename", "a", "--name", "plain") == (0, "Success\n")
    assert cli(bob, home, "upload", "--filename", "a", "--name", "given", "--checksum", digest) == (0, "Success\n")
    assert cli(bob, home, "upload", "--filename", "a", "--name", "upper", "--checksum", digest.upper())[0] == 0
    for name in ("plain", "given", "upper"):
        answer = requests.head(bob.get_url(name), timeout=10)
        assert (answer.status_code, answer.headers[META]) == (200, digest)


def test_a_false_checksum_is_refused_and_leaves_nothing(place: RunningServer, home: Path) -> None:
    bob = someone(place)
    before = stored_files(place)
    for number, size in enumerate((100, 200_000)):  # kept in the catalog, kept in a file
        data = secrets.token_bytes(size)
        (home / "a").write_bytes(data)
        code, said = cli(bob, home, "upload", "--filename", "a", "--name", f"a{number}", "--checksum", "0" * 64)
        assert (code, said.startswith("Error: "), "400" in said) == (1, True, True)
        known = hashlib.sha256(data).hexdigest()
        assert DataApi(place, place.admin_token, "/api/v1").ask("GET", f"/blobs/sha256:{known}").status == 404
    assert cli(bob, home, "ls") == (0, "")
    assert stored_files(place) == before


def test_what_is_no_checksum_is_refused_before_a_byte_is_sent(server: RunningServer, home: Path) -> None:
    bob = someone(server)
    (home / "a").write_bytes(b"abc")
    code, said = cli(bob, home, "upload", "--filename", "a", "--name", "a", "--checksum", "0000")
    assert code == 1
    assert said.startswith("Error: not a sha256 digest")


def test_without_a_checksum_the_client_puts_to_a_bare_url(
    place: RunningServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = someone(place)
    monkeypatch.setattr("prominence.client.calculate_sha256", lambda _: None)  # as after an unreadable file
    for data in (b"", b"small", secrets.token_bytes(100_000)):
        (home / "a").write_bytes(data)
        assert client(bob, monkeypatch).upload("a", str(home / "a")) is True
        assert bob.get("a") == data


@pytest.mark.slow
def test_files_too_large_for_its_forms_come_by_put_and_still_get_a_digest(server: RunningServer, home: Path) -> None:
    bob = someone(server)
    size = 2_200_000_000
    with (home / "big.sif").open("wb") as file:
        file.truncate(size)
    try:
        assert cli(bob, home, "upload", "--filename", "big.sif", "--name", "big.sif") == (0, "Success\n")
        digest = hashlib.sha256()
        for _ in range(size // 50_000_000):
            digest.update(bytes(50_000_000))
        answer = requests.head(bob.get_url("big.sif"), timeout=10)
        assert answer.headers["content-length"] == str(size)
        assert answer.headers[META] == digest.hexdigest()
    finally:
        bob.ask("DELETE", "/data/big.sif")


@pytest.mark.parametrize("base", ["/prominence/v1", "/prominence/v1/", "", "/"])
def test_the_base_url_may_end_in_a_slash_or_be_the_root(server: RunningServer, home: Path, base: str) -> None:
    bob = someone(server)
    (home / "a").write_bytes(b"abc")
    assert cli(bob, home, "upload", "--filename", "a", "--name", "a", base=base) == (0, "Success\n")
    assert cli(bob, home, "ls", base=base) == (0, "a\n")
    assert cli(bob, home, "rm", "a", base=base) == (0, "Success\n")


def test_names_go_in_and_out_as_they_are(server: RunningServer, home: Path) -> None:
    bob = someone(server)
    (home / "a").write_bytes(b"abc")
    for name in NAMES:
        assert cli(bob, home, "upload", "--filename", "a", "--name", name) == (0, "Success\n")
    assert cli(bob, home, "ls") == (0, "".join(f"{name}\n" for name in sorted(NAMES, key=str.encode)))
    for name in NAMES:
        assert cli(bob, home, "rm", name) == (0, "Success\n")
    assert bob.names() == []


def test_names_the_client_could_not_ask_for_again_are_refused(server: RunningServer, home: Path) -> None:
    bob = someone(server)
    bob.put("a b", b"kept")
    (home / "a").write_bytes(b"abc")
    for name in ("a b#c?d", "what?", "100%41"):
        code, said = cli(bob, home, "upload", "--filename", "a", "--name", name)
        assert (code, said.startswith("Error: a name holds no '#'")) == (1, True)
    assert bob.names() == ["a b"]


def test_a_group_is_a_folder_of_all_its_members(server: RunningServer, home: Path) -> None:
    group = f"vo-{secrets.token_hex(3)}"
    bob, eve = someone(server, group), someone(server, group)
    (home / "a").write_bytes(b"abc")
    assert cli(bob, home, "upload", "--filename", "a", "--name", f"{group}/sub dir/a.sif") == (0, "Success\n")
    assert cli(eve, home, "ls", group) == (0, f"{group}/sub dir/a.sif\n")
    assert cli(eve, home, "ls", f"{group}/sub dir") == (0, f"{group}/sub dir/a.sif\n")
    assert cli(bob, home, "ls") == (0, "")
    assert cli(eve, home, "rm", f"{group}/sub dir/a.sif") == (0, "Success\n")
    assert cli(bob, home, "ls", group) == (0, "")


def test_refusals_are_told_in_one_line(server: RunningServer, home: Path) -> None:
    bob = someone(server)
    code, said = cli(bob, home, "ls", "not-mine")
    assert (code, said.startswith("Error: you may not list that folder")) == (1, True)
    stranger = DataApi(server, (bob.token or "")[:-6] + "AAAAAA")
    assert cli(stranger, home, "ls") == (1, "Error: authentication failed\n")
    assert cli(DataApi(server, "word"), home, "ls") == (1, "Error: access token has expired\n")


def test_an_unknown_base_is_told_as_a_wrong_url(server: RunningServer, home: Path) -> None:
    code, said = cli(someone(server), home, "ls", base="/prominence/v2")
    assert (code, "Invalid PROMINENCE URL" in said) == (1, True)


@pytest.mark.parametrize("script", ["with_checksum.txt", "without_checksum.txt"])
def test_the_scripts_of_the_documentation_run_as_printed(place: RunningServer, home: Path, script: str) -> None:
    bob = someone(place)
    data = secrets.token_bytes(300_000)
    (home / "image.tar").write_bytes(data)
    assert run(bob, home, SEED_SCRIPTS / script) == (0, "Succcess\n")
    assert bob.get("image.tar") == data


def test_an_artifact_uploads_itself(server: RunningServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bob = someone(server)
    (home / "a").write_bytes(b"abc")
    client(bob, monkeypatch)
    prominence.Artifact("a.sif").upload(str(home / "a"))
    assert bob.get("a.sif") == b"abc"


def test_a_url_for_uploads_goes_bad_when_its_user_does(
    server: RunningServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = someone(server)
    (home / "a").write_bytes(b"abc")
    theirs = client(bob, monkeypatch)
    name = next(name for name, token in server.tokens.items() if token == bob.token)
    real_post = requests.post

    def post_then_disable(url: str, **options: Any) -> requests.Response:
        answer = real_post(url, **options)
        if url.endswith("/data/upload"):
            server.call("PUT", f"/users/{name}", {"disabled": True})
        return answer

    monkeypatch.setattr(requests, "post", post_then_disable)
    with pytest.raises(FileUploadError, match="403"):
        theirs.upload("a", str(home / "a"))


def test_a_worker_probes_an_output_url_then_puts_its_file(place: RunningServer) -> None:
    """promlet: the two bytes `aa`, then the file, to the same URL; only 403 means a bad one."""
    worker = someone(place, job="job.7-x")
    answer = worker.ask("POST", "/data/output", {"name": "dir/result 1.tgz"})
    assert answer.status == 201
    url = answer.json["url"]
    expires = re.search(r"Expires=(\d+)", url)
    assert expires
    assert 7100 < int(expires[1]) - time.time() <= 7200
    verify = place.cafile or True
    assert requests.put(url, data="aa", timeout=10, verify=verify).status_code == 201
    data = secrets.token_bytes(70_000)
    assert requests.put(url, data=data, timeout=120, verify=verify).status_code == 201
    assert unquote(url.partition("?")[0]).split("/", 5)[3:] == [
        "prominence-data",
        "scratch",
        "job.7-x/dir/result 1.tgz",
    ]
    found = worker.ask("POST", "/data/download", {"name": "scratch/job.7-x/dir/result 1.tgz"}).json
    assert (found["size"], found["sha256"]) == (70_000, hashlib.sha256(data).hexdigest())
    got = requests.get(found["url"], timeout=10, verify=verify)
    assert (got.status_code, got.content) == (200, data)


def test_a_worker_fetches_an_image_with_a_foreign_token_attached(place: RunningServer) -> None:
    bob = someone(place)
    data = secrets.token_bytes(90_000)
    bob.put("image.sif", data)
    url = bob.get_url("image.sif", expires=864_000)
    assert urlsplit(url).path.endswith("/image.sif")
    headers = {"X-Auth-Token": "gAAAAABforeign", "Authorization": "Bearer foreign"}
    with requests.get(url, headers=headers, stream=True, timeout=10, verify=place.cafile or True) as got:
        assert (got.status_code, got.headers["content-length"]) == (200, "90000")
        assert "content-encoding" not in got.headers
        assert got.content == data


def job_server(server: RunningServer, signature: str) -> tuple[Any, str]:
    """boto3 as a PROMINENCE server has it: keys of a robot, maintainer of project `default`."""
    robot = f"robot-{secrets.token_hex(4)}"
    server.call("POST", "/robots", {"name": robot, "project": "default", "role": "maintainer"})
    key = server.call("POST", "/keys", {"principal": robot, "project": "default"})
    config = Config(signature_version=signature, s3={"addressing_style": "path"}, proxies={})
    return boto3.client(
        "s3", endpoint_url=server.url, region_name="us-east-1", config=config,
        aws_access_key_id=key["access"], aws_secret_access_key=key["secret"],
    ), robot  # fmt: skip


@pytest.mark.parametrize("signature", ["s3", "s3v4"])
def test_a_job_server_learns_the_digest_and_whether_an_image_exists(server: RunningServer, signature: str) -> None:
    bob = someone(server)
    data = secrets.token_bytes(5_000_000)
    bob.put("my image.sif", data)
    area = urlsplit(bob.get_url("my image.sif")).path.split("/")[3]
    s3, _ = job_server(server, signature)
    where = {"Bucket": "prominence-data", "Key": f"uploads/{area}/my image.sif"}
    url = s3.generate_presigned_url("get_object", Params=where, ExpiresIn=600)
    assert re.fullmatch(r"[\w/%&=?.:-]+", url)
    head = requests.head(url, timeout=10)
    assert (head.status_code, head.headers[META]) == (200, hashlib.sha256(data).hexdigest())
    with requests.get(url, stream=True, timeout=10) as exists:
        assert exists.status_code == 200
    missing = s3.generate_presigned_url("get_object", Params={**where, "Key": f"uploads/{area}/no"}, ExpiresIn=600)
    assert requests.head(missing, timeout=10).status_code == 404
    if signature == "s3v4":
        assert s3.head_object(**where)["Metadata"] == {"prominence_sha256": hashlib.sha256(data).hexdigest()}
        assert s3.get_object(**where)["Body"].read() == data
    s3.close()


@pytest.mark.parametrize("signature", ["s3", "s3v4"])
def test_a_job_server_signs_uploads_by_itself(server: RunningServer, signature: str) -> None:
    """Deployment B: URLs and forms made by boto3, not by us, answer 201 and 204 as well."""
    bob = someone(server)
    bob.put("first", b"1")
    area = urlsplit(bob.get_url("first")).path.split("/")[3]
    s3, _ = job_server(server, signature)
    digest = hashlib.sha256(b"abc").hexdigest()
    where = {"Bucket": "prominence-data", "Key": f"uploads/{area}/x.sif"}
    url = s3.generate_presigned_url("put_object", Params=where, ExpiresIn=600)
    assert requests.put(url, data=b"by url", timeout=10).status_code == 201
    assert bob.get("x.sif") == b"by url"
    form = s3.generate_presigned_post(**where, Fields={META: digest}, Conditions=[{META: digest}], ExpiresIn=600)
    answer = requests.post(form["url"], data=form["fields"], files={"file": ("x.sif", b"abc")}, timeout=10)
    assert (answer.status_code, answer.content) == (204, b"")
    assert bob.get("x.sif") == b"abc"
    answer = requests.post(form["url"], data=form["fields"], files={"file": ("x.sif", b"abd")}, timeout=10)
    assert answer.status_code == 400
    assert bob.get("x.sif") == b"abc"
    s3.close()
