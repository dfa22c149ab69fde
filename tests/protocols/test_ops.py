"""Health, metrics, version, the index; answers to unknown paths; what is never said in logs, metrics, errors, audit."""

import hashlib
import json
import os
import re
import secrets
import signal
import sqlite3
import ssl
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree as ET

import pytest
from prometheus_client.parser import text_string_to_metric_families

from entrepot import __version__
from entrepot.certificate import self_signed
from entrepot.lifetime import fetch_json, opened
from entrepot.protocols.base import Request
from entrepot.settings import Settings
from tests.asking import Answer, DataApi, ask, post_form
from tests.calling import Api, admin, bucket, content_digest, problem, user
from tests.running import RunningServer, free_port, running_server, start_server
from tests.wire import MemoryWire


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that trusts loopback as a proxy, and says that clients reach it by https."""
    args = ("--trusted-proxy", "127.0.0.0/8", "--public-url", "https://store.example")
    with running_server(tmp_path_factory.mktemp("proxied") / "data", *args) as running:
        yield running


def test_it_is_alive_and_ready(server: RunningServer) -> None:
    for path in ("/livez", "/readyz"):
        answer = ask(server.url + path)
        assert (answer.status, answer.json) == (200, {"status": "ok"})
        head = ask(server.url + path, "HEAD")
        assert (head.status, head.body, head["content-length"]) == (200, b"", str(len(answer.body)))


async def test_while_it_drains_it_is_not_ready(tmp_path: Path) -> None:
    os.makedirs(tmp_path / "data")
    async with opened(Settings(data=str(tmp_path / "data")), bytes(32), fetch_json) as server:
        assert (await server.ops.handle(request("/readyz"))).status == 200
        server.draining = True
        answer = await server.ops.handle(request("/readyz"))
        assert (answer.status, answer.body) == (503, b'{"status":"draining"}')
        assert (await server.ops.handle(request("/livez"))).status == 200


def request(path: str) -> Request:
    return Request("GET", path.encode(), b"", [(b"host", b"x")], MemoryWire())


def test_the_version_is_ours_and_the_one_library_clients_ask_for(server: RunningServer) -> None:
    found = ask(f"{server.url}/version").json
    assert found == {"data": {"version": __version__, "apiVersion": "2.0.0-alpha.2"}}


def test_a_program_finds_an_index_at_the_root(server: RunningServer) -> None:
    answer = ask(f"{server.url}/")
    assert (answer.json["product"], answer.json["version"]) == ("entrepot", __version__)
    assert all(url.startswith(server.url) for url in answer.json["endpoints"].values())
    assert ask(answer.json["endpoints"]["health"]).status == 200
    assert ask(answer.json["endpoints"]["openapi"]).status == 200
    assert ask(f"{server.url}/", "HEAD").status == 200


def families(answer: Answer) -> dict[str, float]:
    assert answer.status == 200
    assert answer["content-type"].startswith("text/plain; version=0.0.4")
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


def test_metrics_count_requests_by_protocol_and_status(server: RunningServer) -> None:
    name = "entrepot_requests_total[('protocol', 'api'), ('status', '405')]"
    before = families(ask(f"{server.url}/metrics")).get(name, 0)
    assert ask(f"{server.url}/api/v1/me", "PATCH").status == 405
    after = families(ask(f"{server.url}/metrics"))
    assert after[name] == before + 1
    assert {"entrepot_requests_running[]", "entrepot_sent_bytes_total[('protocol', 'api')]"} <= set(after)


def test_metrics_want_a_token_of_who_is_not_on_loopback(proxied: RunningServer) -> None:
    url = f"{proxied.url}/metrics"
    assert ask(url).status == 200
    far = {"X-Forwarded-For": "203.0.113.7"}
    for spoken in (
        far, {"X-Forwarded-For": "127.0.0.1, 203.0.113.7"}, {"X-Forwarded-For": "unknown"},
        {"X-Forwarded-For": "fe80::1%x"}, {"X-Forwarded-For": "203.0.113.7:4711"},
    ):  # fmt: skip
        answer = ask(url, headers=spoken)
        assert (answer.status, answer["www-authenticate"]) == (401, "Bearer"), spoken
        assert answer.json["error"]["code"]
    token = {"Authorization": f"Bearer {proxied.admin_token}"}
    assert ask(url, headers={**far, **token}).status == 200
    assert ask(url, headers={"Authorization": "Bearer nonsense"}).status == 401, (
        "a wrong proof is refused on loopback too"
    )


def test_forwarded_headers_of_anybody_else_do_not_count(server: RunningServer) -> None:
    spoken = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    assert ask(f"{server.url}/metrics", headers=spoken).status == 200
    assert ask(f"{server.url}/", headers=spoken).json["endpoints"]["api"].startswith("http://")


def test_behind_https_every_answer_says_so(proxied: RunningServer) -> None:
    for path in ("/livez", "/api/v1/me", "/data", "/no-bucket/key"):
        assert ask(proxied.url + path)["strict-transport-security"] == "max-age=31536000"
    box = bucket(proxied)
    assert admin(proxied).put(f"{box}/a", b"x").url.startswith("https://store.example/api/v1/")
    assert (
        ask(f"{proxied.url}/", headers={"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"})
        .json["endpoints"]["api"]
        .startswith("https://")
    )


# Every path answers in the format of its protocol.


def is_ops(answer: Answer) -> None:
    assert set(answer.json["error"]) >= {"message"}


def is_data(answer: Answer) -> None:
    assert isinstance(answer.json["error"], str)


def is_s3(answer: Answer) -> None:
    assert answer["content-type"] == "application/xml"
    error = ET.fromstring(answer.body)
    assert error.tag == "Error"
    assert error.findtext("Code")


def is_api(answer: Answer) -> None:
    problem(answer)


@pytest.mark.parametrize(
    ("method", "path", "status", "shape"),
    [
        ("GET", "/api/v1/nothing", 404, is_api), ("PATCH", "/api/v1/me", 405, is_api), ("GET", "/api/v1/", 404, is_api),
        ("GET", "/prominence/v1/jobs", 404, is_data), ("GET", "/prominence", 404, is_data),
        ("PUT", "/data/x", 405, is_data), ("PATCH", "/data", 405, is_data),
        ("GET", "/no-such-bucket/key", 404, is_s3), ("PATCH", "/no-such-bucket/key", 405, is_s3),
        ("POST", "/livez", 405, is_ops), ("DELETE", "/metrics", 405, is_ops), ("PUT", "/", 405, is_ops),
        ("GET", "/x", 404, is_ops), ("GET", "/ui/x", 404, is_ops), ("GET", "//", 404, is_ops),
    ],
)  # fmt: skip
def test_what_is_not_there_is_told_in_the_protocols_own_format(
    server: RunningServer, method: str, path: str, status: int, shape: object
) -> None:
    answer = ask(server.url + path, method)
    assert answer.status == status
    assert callable(shape)
    shape(answer)
    assert ("allow" in answer) == (status == 405)
    assert b"Traceback" not in answer.body
    assert "server" not in answer


def test_an_error_to_head_has_no_body_and_the_status_of_get(server: RunningServer) -> None:
    for path in ("/api/v1/nothing", "/data/x", "/no-such-bucket/key", "/x"):
        get, head = ask(server.url + path), ask(server.url + path, "HEAD")
        assert (head.status, head.body) == (get.status, b"")


# What is never said.


def canaries(own: RunningServer) -> dict[str, str]:
    """Uses everything that is secret, right and wrong; the secrets by name."""
    api = admin(own)
    found = {
        "admin token": own.admin_token, "password": "canary-password-1", "wrong password": "canary-password-2",
        "wrong token": f"eyJhbGciOiJIUzI1NiJ9.{secrets.token_hex(16)}.{secrets.token_hex(16)}",
    }  # fmt: skip
    api.done("POST", "/users", {"name": "carol", "password": found["password"]}, 201)
    api.done("PUT", "/roles", {"principal": "carol", "project": "default", "role": "owner"})
    api.done("PUT", "/buckets/box", {}, 201)
    token = api.done("POST", "/login", {"user": "carol", "password": found["password"]}, 201).token
    carol = Api(own, token)
    found["token"] = token
    answers = [
        api.ask("POST", "/login", {"user": "carol", "password": found["wrong password"]}),
        api.ask("POST", "/login", {"user": found["wrong password"], "pass": found["wrong password"]}),
        Api(own, found["wrong token"]).ask("GET", "/me"),
        ask(f"{own.url}/api/v1/me?token={found['wrong token']}"),
        ask(f"{own.url}/metrics", headers={"Authorization": f"Bearer {found['wrong token']}"}),
        api.ask("PUT", "/users/carol", {"password": found["password"]}),
    ]
    token = api.done("POST", "/login", {"user": "carol", "password": found["password"]}, 201).token
    carol = Api(own, token)
    found["second token"] = token
    found["key"] = carol.done("POST", "/keys", {}, 201).secret
    found["robot"] = carol.done("POST", "/robots", {"name": "r", "project": "default"}, 201).secret
    carol.put("box/a", b"linked")
    link = carol.done("POST", "/links", {"ref": "box/a"}, 201).url
    found["signature"] = next(v for k, v in parse_qsl(urlsplit(link).query) if "signature" in k.lower())
    answers += [ask(link), ask(link, "PUT", b"x"), ask(link.replace("box/a", "box/b"))]
    area = DataApi(own, token)
    digest = hashlib.sha256(b"form").hexdigest()
    url, fields = area.form("f", digest)
    found["form"] = next(v for k, v in fields.items() if "signature" in k.lower())
    answers += [post_form(url, fields, b"other"), post_form(url, fields, b"form")]
    upload = carol.begin("box/u", size=4)
    found["upload"] = upload.url.rpartition("/")[2]
    carol.part(upload, 0, b"wrong", 416)
    answers += [
        ask(f"{upload.url}/0", "PUT", b"four", {"Content-Digest": content_digest(b"x")}),
        ask(f"{upload.url}x"),
        carol.ask("GET", "/users"),
    ]
    carol.part(upload, 0, b"four")
    carol.commit(upload, 4)
    for answer in answers:
        for name, secret in found.items():
            assert secret.encode() not in answer.body, (name, answer)
    return found


def forms_of(secret: str) -> set[str]:
    """How it might be written; the claims of a token say nothing without its signature."""
    parts = secret.split(".")
    return {parts[-1], secret.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")}


def test_no_secret_is_ever_said(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_server(data) as own:
        found = canaries(own)
        metrics = ask(f"{own.url}/metrics").body.decode()
        found["master key"] = (data / "master.key").read_bytes().hex()
        assert own.stop() == 0
    log = own.log.read_text()
    with sqlite3.connect(data / "catalog.db") as catalog:
        audit = "\n".join(str(row) for row in catalog.execute("SELECT * FROM audit"))
        actions = {row[0] for row in catalog.execute("SELECT DISTINCT action FROM audit")}
    catalog.close()
    for where, text in (("log", log), ("metrics", metrics), ("audit", audit)):
        for name, secret in found.items():
            for form in forms_of(secret):
                assert form not in text, (where, name)
        assert str(tmp_path) not in text, where
    assert {"log in", "put", "add user", "put bucket", "add key", "add robot"} <= actions
    lines = [json.loads(line) for line in log.splitlines()]
    shown = {"event", "at", "method", "path", "protocol", "status", "sent", "seconds", "request_id", "address", "query"}
    asked = [line for line in lines if line["event"] == "request"]
    assert len(asked) > 20
    for line in asked:
        assert set(line) <= shown | {"user-agent", "range", "content-length"}
        assert re.fullmatch(r"[0-9a-f]{16}", line["request_id"])
    assert found["upload"][:8] in log, "the beginning of an upload's id tells uploads apart"
    assert ["token"] in [line.get("query") for line in asked], "names of the query, not values"


def test_a_refusal_can_be_found_in_log_and_audit_by_its_request_id(server: RunningServer) -> None:
    name, reader = user(server, "reader")
    box = bucket(server)
    found = reader.refused("PUT", f"/objects/{box}/a", b"x")
    time.sleep(0.2)
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if found.request_id in line]
    assert [(line["status"], line["path"]) for line in lines] == [(403, f"/api/v1/objects/{box}/a")]
    catalog = sqlite3.connect(f"file:{server.data}/catalog.db?mode=ro", uri=True)
    rows = catalog.execute(
        "SELECT principal, address, action, protocol, outcome FROM audit WHERE request_id = ?", [found.request_id]
    ).fetchall()
    catalog.close()
    assert rows == [(name, "127.0.0.1", "PUT", "api", "denied")]


# The data folder and the address.


def test_the_data_folder_and_all_in_it_are_for_its_user_alone(server: RunningServer, tls_server: RunningServer) -> None:
    for running in (server, tls_server):
        admin(running).begin(f"{bucket(running)}/a", size=50_000)
        admin(running).put(f"{bucket(running)}/a", bytes(50_000))
        assert stat.S_IMODE(running.data.stat().st_mode) == 0o700
        seen = 0
        for path in running.data.rglob("*"):
            mode = stat.S_IMODE(path.lstat().st_mode)
            assert mode & 0o077 == 0, (path.name, oct(mode))
            seen += path.is_file()
        assert seen > 5


def refused_start(data: Path, *args: str) -> str:
    """What the command says as it ends by itself, with an exit code that is none of success."""
    with pytest.raises(RuntimeError) as found:
        start_server(data, *args)
    return str(found.value)


def test_a_second_server_on_the_same_folder_does_not_start(server: RunningServer, tmp_path: Path) -> None:
    os.symlink(server.data, tmp_path / "again")
    said = refused_start(tmp_path / "again")
    assert "another server uses this data folder" in said
    assert "Traceback" not in said
    assert ask(f"{server.url}/livez").status == 200


def test_a_start_that_fails_names_the_setting_and_shows_no_traceback(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("neither a folder nor a certificate")
    port = urlsplit(server.url).port
    for flag, args in (
        ("--data", ("--data", str(tmp_path / "file"))),
        ("--data", ("--data", str(tmp_path / "file" / "data"))),
        ("--listen", ("--listen", f"127.0.0.1:{port}")),
        ("--listen", ("--listen", "127.0.0.1:70000")),
        ("--tls-key", ("--tls-cert", str(tmp_path / "file"), "--tls-key", str(tmp_path / "file"))),
    ):
        said = refused_start(tmp_path / "data", *args)
        assert "error[usage]: --" in said
        assert flag in said
        assert "Traceback" not in said


def test_without_tls_no_address_but_loopback_is_listened_on(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="can be reached by others"):
        start_server(tmp_path / "data", listen="0.0.0.0:0")
    assert not (tmp_path / "data").exists(), "it stops before it makes anything"


def test_a_master_key_others_may_read_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "master.key").write_bytes(secrets.token_bytes(32))
    (tmp_path / "data" / "master.key").chmod(0o640)
    assert "others can read the master key" in refused_start(tmp_path / "data")
    (tmp_path / "data" / "master.key").chmod(0o600)
    (tmp_path / "data" / "master.key").write_bytes(b"short")
    assert "32 bytes" in refused_start(tmp_path / "data")


# TLS


def certificate_of(port: int) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=10)


def test_with_tls_it_shows_its_own_certificate_and_speaks_no_old_version(tls_server: RunningServer) -> None:
    assert tls_server.cafile
    port = urlsplit(tls_server.url).port or 0
    assert certificate_of(port) == Path(tls_server.cafile).read_text()
    assert ask(f"{tls_server.url}/livez", cafile=tls_server.cafile).status == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(f"{tls_server.url}/livez")
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        input=b"", capture_output=True, timeout=10, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert b"Cipher is (NONE)" in done.stdout


def test_sighup_takes_a_new_certificate_without_a_lost_connection(tmp_path: Path) -> None:
    cert, key = self_signed(str(tmp_path / "old"), "127.0.0.1")
    new_cert, new_key = self_signed(str(tmp_path / "new"), "127.0.0.1")
    listen = f"127.0.0.1:{free_port()}"
    with running_server(tmp_path / "data", "--tls-cert", cert, "--tls-key", key, listen=listen) as own:
        port = urlsplit(own.url).port or 0
        assert certificate_of(port) == Path(cert).read_text()
        os.replace(new_cert, cert)
        os.replace(new_key, key)
        assert certificate_of(port) != Path(cert).read_text()
        own.process.send_signal(signal.SIGHUP)
        for _ in range(50):
            if certificate_of(port) == Path(cert).read_text():
                break
            time.sleep(0.1)
        assert certificate_of(port) == Path(cert).read_text()
        assert ask(f"{own.url}/livez", cafile=cert).status == 200


def test_sighup_over_http_changes_nothing(proxied: RunningServer) -> None:
    proxied.process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert ask(f"{proxied.url}/livez").status == 200
