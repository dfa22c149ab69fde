"""The PROMINENCE data API on the wire: what is asked, what is answered, and every refusal as JSON."""

import base64
import hashlib
import json
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest
from joserfc import jws
from joserfc.jwk import OctKey, RSAKey

from entrepot.auth import tokens
from entrepot.lifetime import fetch_json
from tests.asking import Answer, DataApi, ask, connection, post_form, someone
from tests.running import RunningServer, free_port, running_server

META = "x-amz-meta-prominence_sha256"
DIGEST = hashlib.sha256(b"abc").hexdigest()
WORD = "no-such"


def fresh(kind: str = "user") -> str:
    """A name nobody has."""
    return f"{kind}-{secrets.token_hex(4)}"


@pytest.fixture
def bob(server: RunningServer) -> DataApi:
    """A new user without groups."""
    return someone(server)


def refused(answer: Answer, status: int) -> str:
    """The text of a refusal: one JSON member, a string, whatever went wrong."""
    assert answer.status == status, answer
    assert list(answer.json) == ["error"]
    text = answer.json["error"]
    assert isinstance(text, str)
    assert text
    assert answer["cache-control"] == "no-store"
    assert answer["content-length"] == str(len(answer.body))
    return text


def key_of(url: str) -> str:
    """The key in a signed URL, decoded."""
    return unquote(urlsplit(url).path).split("/", 2)[2]


# --- golden wire -----------------------------------------------------------------------------------------------------


def test_an_upload_with_a_checksum_gets_a_form_as_boto3_makes_it(server: RunningServer) -> None:
    name = fresh()
    bob = someone(server, name=name)
    answer = bob.ask("POST", "/data/upload", {"filename": "a b.sif", "checksum": DIGEST})
    assert answer.status == 201
    assert list(answer.json) == ["url", "fields"]
    assert answer.json["url"] == f"{server.url}/prominence-data"
    fields = answer.json["fields"]
    assert list(fields) == [META, "key", "AWSAccessKeyId", "policy", "signature"]
    assert (fields[META], fields["key"]) == (DIGEST, f"uploads/{name}/a b.sif")
    policy = json.loads(base64.b64decode(fields["policy"]))
    ends = policy.pop("expiration")
    assert policy == {"conditions": [{META: DIGEST}, {"bucket": "prominence-data"}, {"key": f"uploads/{name}/a b.sif"}]}
    left = time.mktime(time.strptime(f"{ends} UTC", "%Y-%m-%dT%H:%M:%SZ %Z")) - time.timezone - time.time()
    assert 590 < left <= 601
    assert len(base64.b64decode(fields["signature"])) == 20


@pytest.mark.parametrize("checksum", [{}, {"checksum": None}, {"checksum": ""}], ids=["absent", "null", "empty"])
def test_an_upload_without_a_checksum_gets_a_bare_url(server: RunningServer, checksum: dict[str, Any]) -> None:
    name = fresh()
    answer = someone(server, name=name).ask("POST", "/data/upload", {"filename": "é b+c~.sif", **checksum})
    assert answer.status == 201
    assert list(answer.json) == ["url"]
    url = answer.json["url"]
    path = f"{server.url}/prominence-data/uploads/{name}/%C3%A9%20b%2Bc~.sif"
    found = re.fullmatch(re.escape(path) + r"\?AWSAccessKeyId=(\w+)&Signature=([\w%]+)&Expires=(\d+)", url)
    assert found, url
    assert len(base64.b64decode(unquote(found[2]))) == 20
    assert 590 < int(found[3]) - time.time() <= 600


def test_answers_carry_their_length_and_are_kept_by_nobody(bob: DataApi) -> None:
    upload = bob.ask("POST", "/data/upload", {"filename": "x"})
    assert {name for name, _ in upload.headers} == {
        "date", "content-type", "content-length", "cache-control", "x-content-type-options", "content-security-policy",
        "cross-origin-resource-policy",
    }  # fmt: skip
    assert upload["content-length"] == str(len(upload.body))
    listed = bob.ask("GET", "/data")
    deleted = bob.ask("DELETE", "/data/x")
    assert (listed["content-type"], listed["content-length"], listed.body) == ("application/json", "2", b"[]")
    assert (deleted.status, deleted.body) == (204, b"")
    for answer in (upload, listed, deleted):
        assert answer["cache-control"] == "no-store"
        assert answer["x-content-type-options"] == "nosniff"


def test_a_list_has_name_size_and_time_of_each_in_order_of_its_bytes(bob: DataApi) -> None:
    names = ["b", "a", "Z", "ä", "\uffee", "\U0001f9ea", "a b", "a.b", "aa"]
    for number, name in enumerate(names):
        assert bob.put(name, b"x" * number).status == 201
    items = bob.ask("GET", "/data").json
    assert [item["name"] for item in items] == sorted(names, key=str.encode)
    for item in items:
        assert list(item) == ["name", "size", "lastModified"]
        assert item["size"] == names.index(item["name"])
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", item["lastModified"])
        assert abs(parsedate_to_datetime(item["lastModified"]).timestamp() - time.time()) < 30


def test_more_than_a_page_of_names_is_one_array(server: RunningServer) -> None:
    name = fresh()
    bob = someone(server, name=name)
    count = 1003
    bob.put("0000", b"")
    headers = {"Authorization": f"Bearer {server.admin_token}"}

    def fill(start: int) -> None:
        with closing(connection(server.url)) as kept:
            for number in range(start, count, 8):
                kept.request("PUT", f"/api/v1/objects/prominence-data/uploads/{name}/{number:04}", b"", headers)
                with kept.getresponse() as response:
                    assert response.status == 201
                    response.read()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fill, range(8)))
    answer = bob.ask("GET", "/data")
    assert [item["name"] for item in answer.json] == [f"{number:04}" for number in range(count)]
    assert (answer["transfer-encoding"], "content-length" in answer) == ("chunked", False)


def test_head_answers_as_get_without_a_body(server: RunningServer) -> None:
    group = fresh("vo")
    bob = someone(server, group)
    bob.put("x", b"1")
    for path in ("/data", f"/data/{group}"):
        got, head = bob.ask("GET", path), bob.ask("HEAD", path)
        assert (head.status, head.body) == (200, b"")
        assert head.headers == got.headers
    missing = bob.ask("HEAD", "/data/not-mine")
    assert (missing.status, missing.body, missing["content-type"]) == (403, b"", "application/json")


def test_every_path_means_the_same_under_its_aliases(bob: DataApi) -> None:
    for base in ("", "/prominence/v1", "//", "/prominence/v1/", "/prominence//v1///"):
        alias = DataApi(bob.server, bob.token, base)
        for path in ("/data/upload", "/data"):
            assert list(alias.ask("POST", path, {"filename": "x"}).json) == ["url"]
        assert alias.put("x", b"1").status == 201
        assert alias.names() == ["x"]
        assert alias.ask("DELETE", "/data/x").status == 204
        assert alias.names() == []


def test_name_and_checksum_in_the_query_win_over_the_body(bob: DataApi) -> None:
    body = {"filename": "body", "checksum": "0" * 64}
    fields = bob.ask("POST", "/data/upload", body, query=f"?name=the%20query+x&checksum={DIGEST}").json["fields"]
    assert (fields["key"].rpartition("/")[2], fields[META]) == ("the query x", DIGEST)
    fields = bob.ask("POST", "/data/upload", body, query="?name=q").json["fields"]
    assert (fields["key"].rpartition("/")[2], fields[META]) == ("q", "0" * 64)
    fields = bob.ask("POST", "/data/upload", body, query=f"?checksum={DIGEST}").json["fields"]
    assert (fields["key"].rpartition("/")[2], fields[META]) == ("body", DIGEST)


def test_with_a_name_in_the_query_no_body_is_needed(bob: DataApi) -> None:
    assert list(bob.ask("POST", "/data/upload", query="?name=q").json) == ["url"]
    assert list(bob.ask("POST", "/data", b"", query=f"?name=q&checksum={DIGEST}").json) == ["url", "fields"]
    form_type = {"Content-Type": "application/x-www-form-urlencoded"}
    assert bob.ask("POST", "/data", b"", form_type, query="?name=q").status == 201


@pytest.mark.parametrize("text", [DIGEST.upper(), f"sha256:{DIGEST}", f"sha256:{DIGEST.upper()}"])
def test_checksums_come_in_any_case_and_go_out_in_lower(bob: DataApi, text: str) -> None:
    url, fields = bob.form("x", text)
    assert fields[META] == DIGEST
    assert post_form(url, fields, b"abc").status == 204


def test_unknown_keys_are_ignored_and_json_may_say_its_charset(bob: DataApi) -> None:
    body = json.dumps({"filename": "x", "size": 1, "extra": {"deep": [1]}}).encode()
    for kind in ("application/json", "Application/JSON; charset=utf-8", "application/json;odata=verbose"):
        assert bob.ask("POST", "/data/upload", body, {"Content-Type": kind}).status == 201
    assert bob.ask("POST", "/data/upload", body).status == 201


def test_a_download_link_tells_digest_and_size(bob: DataApi) -> None:
    bob.put("x.sif", b"abc")
    answer = bob.ask("POST", "/data/download", {"name": "x.sif"})
    assert answer.status == 201
    assert list(answer.json) == ["url", "sha256", "size"]
    assert (answer.json["sha256"], answer.json["size"]) == (DIGEST, 3)
    for seconds, asked in ((3600, {}), (1, {"expires": 1}), (864_000, {"expires": 864_000})):
        url = bob.get_url("x.sif", **asked)
        assert seconds - 5 < int(parse_qs(urlsplit(url).query)["Expires"][0]) - time.time() <= seconds
    for wrong in (0, -1, 864_001, "3600", 3600.0, True, None):
        refused(bob.ask("POST", "/data/download", {"name": "x.sif", "expires": wrong}), 400)


# --- refusals --------------------------------------------------------------------------------------------------------


def test_without_a_token_everything_is_401_and_says_how(server: RunningServer) -> None:
    stranger = DataApi(server, None)
    for method, path in (("GET", "/data"), ("GET", "/data/vo"), ("DELETE", "/data/x"), ("POST", "/data/upload"),
                         ("POST", "/data/output"), ("POST", "/data/download")):  # fmt: skip
        answer = stranger.ask(method, path, {"filename": "x", "name": "x"} if method == "POST" else None)
        refused(answer, 401)
        assert answer["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/jobs", "/jobs/1", "/workflows", "/kv/x", "/", "", "/datax", "/dat", "/DATA"])
def test_what_is_not_ours_is_404(bob: DataApi, path: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE"):
        refused(bob.ask(method, path), 404)
        refused(DataApi(bob.server, None).ask(method, path), 404)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/data/upload", {"GET", "HEAD", "DELETE", "POST"}),
        ("PATCH", "/data/output", {"GET", "HEAD", "DELETE", "POST"}),
        ("PUT", "/data", {"GET", "HEAD", "POST"}),
        ("DELETE", "/data", {"GET", "HEAD", "POST"}),
        ("DELETE", "/data/", {"GET", "HEAD", "POST"}),
        ("POST", "/data/other", {"GET", "HEAD", "DELETE"}),
        ("OPTIONS", "/data/vo/x", {"GET", "HEAD", "DELETE"}),
    ],
)
def test_a_wrong_method_is_405_and_names_the_right_ones(bob: DataApi, method: str, path: str, allow: set[str]) -> None:
    answer = bob.ask(method, path)
    refused(answer, 405)
    assert {word.strip() for word in answer["allow"].split(",")} == allow


def test_bodies_of_other_types_are_415(bob: DataApi) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json", "x"):
        refused(bob.ask("POST", "/data/upload", b'{"filename": "x"}', {"Content-Type": kind}), 415)


def test_a_body_over_a_mebibyte_is_413(bob: DataApi) -> None:
    limit = 1 << 20
    shell = len(json.dumps({"filename": "x", "pad": ""}))
    fitting = {"filename": "x", "pad": "y" * (limit - shell)}
    assert bob.ask("POST", "/data/upload", fitting).status == 201
    fitting["pad"] += "y"
    refused(bob.ask("POST", "/data/upload", fitting), 413)
    headers = {"Authorization": f"Bearer {bob.token}"}
    pieces = (b" " * 65536 for _ in range(17))
    refused(ask(f"{bob.server.url}/data/upload", "POST", pieces, headers), 413)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b'"x"', b"{", b"{}", b'{"filename": "a", "filename": "b"}', b'{"filename": 1}',
        b'{"filename": null}', b'{"filename": ["x"]}', b'{"filename": ""}', b'{"filename": "\\ud800"}',
        b'{"filename": "x", "size": NaN}', b'\xff\xfe{"filename": "x"}', b'{"filename": "x"} {}',
        b'{"filename": "x", "deep": ' + b"[" * 1000 + b"]" * 1000 + b"}",
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)  # fmt: skip
def test_what_is_not_one_json_object_with_a_name_is_400(bob: DataApi, body: bytes) -> None:
    refused(bob.ask("POST", "/data/upload", body), 400)


@pytest.mark.parametrize(
    "checksum",
    ["0000", "x" * 64, DIGEST + "0", f"md5:{DIGEST}", f"sha256:sha256:{DIGEST}", f" {DIGEST}", DIGEST + "\n", "sha256:",
     0, 1, False, True, [], {}, [DIGEST]],
    ids=repr,
)  # fmt: skip
def test_what_is_no_checksum_is_400(bob: DataApi, checksum: object) -> None:
    refused(bob.ask("POST", "/data/upload", {"filename": "x", "checksum": checksum}), 400)


def test_a_bad_checksum_in_the_query_is_400(bob: DataApi) -> None:
    refused(bob.ask("POST", "/data/upload", query="?name=x&checksum=00"), 400)
    refused(bob.ask("POST", "/data/upload", query="?name=x&name=y"), 400)
    refused(bob.ask("POST", "/data/upload", query="?name=%ff"), 400)


@pytest.mark.parametrize(
    "name",
    ["", "a#b", "a?b", "100%41", "%00", "a\nb", "a\tb", "\x7f", "\x00", "x" * 1001, "é" * 501, ".", ".."],
    ids=lambda name: ascii(name[:12]),
)
def test_names_that_cannot_be_are_400_everywhere(bob: DataApi, name: str) -> None:
    refused(bob.ask("POST", "/data/upload", {"filename": name}), 400)
    refused(bob.ask("POST", "/data/download", {"name": name}), 400)
    if name:
        refused(bob.ask("DELETE", f"/data/{quote(name)}"), 400)
        refused(bob.ask("GET", f"/data/{quote(name)}"), 403 if name in {".", ".."} else 400)


def test_a_path_that_is_not_utf8_is_400(bob: DataApi) -> None:
    refused(bob.ask("DELETE", "/data/%ff"), 400)
    refused(bob.ask("GET", "/data/%c3"), 400)


def test_names_of_a_thousand_bytes_and_odd_signs_are_taken(bob: DataApi) -> None:
    for name in ("x" * 1000, "é" * 500, "100%", "a%4", "a\\b", '"', "a:b", "<&>", "...", " ", "upload", "output"):
        assert bob.put(name, name.encode()).status == 201
        assert bob.get(name) == name.encode()
        assert bob.ask("DELETE", f"/data/{quote(name, safe='')}").status == 204
    assert bob.names() == []


def test_unicode_is_kept_as_given(bob: DataApi) -> None:
    composed, decomposed = "é", "e\u0301"
    bob.put(composed, b"1")
    bob.put(decomposed, b"2")
    assert set(bob.names()) == {composed, decomposed}
    assert (bob.get(composed), bob.get(decomposed)) == (b"1", b"2")


def test_a_missing_object_is_never_404(bob: DataApi) -> None:
    assert bob.ask("DELETE", "/data/nothing").status == 204
    refused(bob.ask("POST", "/data/download", {"name": "nothing"}), 400)
    assert bob.ask("GET", "/data/upload").status == 403


def test_two_authorization_headers_are_400(bob: DataApi) -> None:
    headers = [("Authorization", f"Bearer {bob.token}"), ("Authorization", f"Bearer {bob.token}")]
    refused(ask(f"{bob.server.url}/data", headers=headers), 400)


@pytest.fixture(scope="module")
def behind_a_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server known by another address, whose first DELETE meets a fault of ours."""
    environ = {"ENTREPOT_PUBLIC_URL": "https://store.example:8443", "ENTREPOT_FAILPOINT": "name.deleted:errno=EIO"}
    with running_server(tmp_path_factory.mktemp("proxy") / "data", environ=environ) as running:
        yield running


def test_a_fault_of_ours_is_500_and_tells_nothing_but_its_number(behind_a_proxy: RunningServer) -> None:
    bob = someone(behind_a_proxy)
    text = refused(bob.ask("DELETE", "/data/x"), 500)
    found = re.fullmatch(r"something went wrong here; request ([0-9a-f]{16})", text)
    assert found
    assert found[1] in behind_a_proxy.log.read_text()
    assert bob.ask("DELETE", "/data/x").status == 204


def test_links_lead_to_the_public_address(behind_a_proxy: RunningServer) -> None:
    bob = someone(behind_a_proxy)
    put, (post, fields) = bob.put_url("x"), bob.form("x", DIGEST)
    assert put.startswith("https://store.example:8443/prominence-data/uploads/")
    assert post == "https://store.example:8443/prominence-data"
    inside = behind_a_proxy.url
    assert ask(put.replace("https://store.example:8443", inside), "PUT", b"1").status == 201
    assert post_form(f"{inside}/prominence-data", fields, b"abc").status == 204


# --- groups ----------------------------------------------------------------------------------------------------------


def test_a_group_opens_its_own_folder_and_nothing_else(server: RunningServer) -> None:
    vo = fresh("vo")
    bob = someone(server, vo)
    for path in (f"{vo}/x", f"{vo}/sub/x"):
        assert bob.put(path, b"1").status == 201
        assert bob.get(path) == b"1"
        assert bob.names(path) == [path]
        assert bob.ask("DELETE", f"/data/{path}").status == 204
    for path in (f"{vo}2/x", f"{vo[:-1]}/x", f"{vo}/../x", f"/{vo}/x", f"dir/{vo}/dir/x", f"{vo}/./x", f"{vo}//x",
                 "/x", "x/", f"{vo}/", "../x", "scratch/x", "uploads/x", f"{vo}/sub/../../x"):  # fmt: skip
        for checksum in (None, DIGEST):
            refused(bob.ask("POST", "/data/upload", {"filename": path, "checksum": checksum}), 403)
        refused(bob.ask("POST", "/data/download", {"name": path}), 403)
        refused(bob.ask("DELETE", f"/data/{path}"), 403)
        if path not in (f"{vo}/", f"{vo}//x"):  # as texts, these begin names below the group
            refused(bob.ask("GET", f"/data/{path}"), 403)


def test_a_foreign_path_is_the_same_403_whether_it_exists_or_not(server: RunningServer) -> None:
    vo = fresh("vo")
    someone(server, vo).put(f"{vo}/there", b"1")
    eve = someone(server)
    names = (f"{vo}/there", f"{vo}/nope", f"{fresh('vo')}/there")
    for method, path, key in (("POST", "/data/download", "name"), ("POST", "/data/upload", "filename"),
                              ("DELETE", "/data/{}", ""), ("GET", "/data/{}", "")):  # fmt: skip
        answers = [eve.ask(method, path.format(name), {key: name} if key else None) for name in names]
        assert len({refused(answer, 403) for answer in answers}) == 1


def test_a_subgroup_opens_only_its_part(server: RunningServer) -> None:
    vo = fresh("vo")
    all_of, sub = someone(server, vo), someone(server, f"{vo}/sub")
    all_of.put(f"{vo}/top", b"1")
    assert sub.put(f"{vo}/sub/x", b"2").status == 201
    assert all_of.get(f"{vo}/sub/x") == b"2"
    assert all_of.names(vo) == [f"{vo}/sub/x", f"{vo}/top"]
    assert sub.names(f"{vo}/sub") == [f"{vo}/sub/x"]
    refused(sub.ask("GET", f"/data/{vo}"), 403)
    refused(sub.ask("POST", "/data/download", {"name": f"{vo}/top"}), 403)
    refused(sub.ask("POST", "/data/upload", {"filename": f"{vo}/subx/y"}), 403)


def test_a_path_below_a_group_is_the_beginning_of_names(server: RunningServer) -> None:
    vo = fresh("vo")
    bob = someone(server, vo, f"{vo}/ab")
    for name in ("a", "ab/c", "abc", "b"):
        bob.put(f"{vo}/{name}", b"")
    assert bob.names(f"{vo}/a") == [f"{vo}/a", f"{vo}/ab/c", f"{vo}/abc"]
    assert bob.names(f"{vo}/ab") == [f"{vo}/ab/c"]
    assert bob.names(f"{vo}/") == bob.names(vo) == [f"{vo}/{name}" for name in ("a", "ab/c", "abc", "b")]
    assert bob.names(f"{vo}/zz") == []
    assert bob.names() == []


def test_a_user_and_a_group_of_one_name_never_meet(server: RunningServer) -> None:
    for user_first in (True, False):
        name = fresh("both")
        user, member = someone(server, name=name), someone(server, name)
        first, second = (user, "x"), (member, f"{name}/x")
        for who, where in (first, second) if user_first else (second, first):
            assert who.put(where, where.encode()).status == 201
        assert (user.names(), member.names(name)) == (["x"], [f"{name}/x"])
        assert (user.get("x"), member.get(f"{name}/x")) == (b"x", f"{name}/x".encode())
        refused(user.ask("GET", f"/data/{name}"), 403)
        refused(user.ask("POST", "/data/download", {"name": f"{name}/x"}), 403)
        keys = key_of(user.get_url("x")), key_of(member.get_url(f"{name}/x"))
        own, other = f"uploads/{name}/x", f"uploads/{name}.{'group' if user_first else 'user'}/x"
        assert keys == ((own, other) if user_first else (other, own))


def test_a_user_named_like_a_groups_segment_blocks_nobody(server: RunningServer) -> None:
    name = fresh("both")
    for who, path in ((someone(server, name=f"{name}.group"), "x"), (someone(server, name=name), "x"),
                      (someone(server, name), f"{name}/x")):  # fmt: skip
        who.put(path, secrets.token_bytes(8))
        assert len(who.names(path.rpartition("/")[0])) == 1


def test_groups_unfit_as_a_segment_get_one_of_their_own(server: RunningServer) -> None:
    long, longer = "g" * 129, "g" * 200
    bob = someone(server, long, longer)
    for group in (long, longer):
        assert bob.put(f"{group}/x", group.encode()).status == 201
        assert bob.names(group) == [f"{group}/x"]
        assert re.fullmatch(r"uploads/u-[0-9a-f]{16}/x", key_of(bob.get_url(f"{group}/x")))
    assert (bob.get(f"{long}/x"), bob.get(f"{longer}/x")) == (long.encode(), longer.encode())


def test_one_user_begins_like_another_and_sees_nothing_of_it(server: RunningServer) -> None:
    name = fresh()
    short, long = someone(server, name=name), someone(server, name=f"{name}by")
    long.put("x", b"1")
    assert (short.names(), long.names()) == ([], ["x"])


def test_a_role_in_the_project_opens_no_area(server: RunningServer) -> None:
    vo, name = fresh("vo"), fresh()
    member = someone(server, vo)
    member.put(f"{vo}/x", b"1")
    owner = someone(server, name=name)
    server.call("PUT", "/roles", {"principal": name, "project": "default", "role": "owner"})
    refused(owner.ask("POST", "/data/download", {"name": f"{vo}/x"}), 403)
    refused(owner.ask("DELETE", f"/data/{vo}/x"), 403)
    api = DataApi(server, owner.token, "/api/v1")
    for method in ("GET", "PUT", "DELETE"):
        assert (
            api.ask(method, f"/objects/prominence-data/uploads/{vo}/x", b"2" if method == "PUT" else None).status == 403
        )
    assert member.get(f"{vo}/x") == b"1"
    assert owner.put("mine", b"1").status == 201


# --- tokens ----------------------------------------------------------------------------------------------------------


def signing_key(server: RunningServer) -> tokens.TokenKey:
    return tokens.TokenKey.derive((server.data / "master.key").read_bytes(), 1)


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


def by_hand(server: RunningServer, body: dict[str, Any], key: bytes | None = None, **header: str) -> str:
    """A token as a forger would make it, signed by the server's own key unless another is given."""
    head = {"alg": "HS256", "typ": "JWT", "kid": "1", **header}
    secret = OctKey.import_key(key or signing_key(server).secret)
    return jws.serialize_compact(head, json.dumps(body), secret)


def test_a_token_made_by_hand_with_the_servers_key_is_taken(bob: DataApi) -> None:
    """The other tests of forged tokens would prove nothing if this one failed."""
    again = by_hand(bob.server, claims_of(bob.token or ""))
    assert DataApi(bob.server, again).ask("GET", "/data").status == 200


def test_any_word_may_stand_in_front_of_a_token(bob: DataApi) -> None:
    for word in ("Bearer", "bearer", "Token", "X", "Basic"):
        assert ask(f"{bob.server.url}/data", headers={"Authorization": f"{word} {bob.token}"}).status == 200


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic x", "Basic Ym9iOmJvYg==", "Bearer word", "Bearer a.b.c", "Bearer one two", "a.b.c",
     "Bearer eyJhbGciOiJub25lIn0.e30.", "Bearer \u00e9", "Bearer " + "a" * 20000],
)  # fmt: skip
def test_what_is_no_token_is_401(server: RunningServer, header: str) -> None:
    answer = ask(f"{server.url}/data", headers={"Authorization": header})
    refused(answer, 401)
    assert answer["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "changed",
    [{"exp": None}, {"exp": 1}, {"exp": "tomorrow"}, {"exp": True}, {"jti": None}, {"jti": "never-minted"},
     {"iss": "elsewhere"}, {"iss": None}, {"sub": None}, {"iat": None}, {"username": None}, {"aud": None},
     {"groups": 7}],
    ids=repr,
)  # fmt: skip
def test_tokens_with_wrong_claims_are_401(bob: DataApi, changed: dict[str, Any]) -> None:
    body = {**claims_of(bob.token or ""), **changed}
    token = by_hand(bob.server, {name: value for name, value in body.items() if value is not None})
    refused(DataApi(bob.server, token).ask("GET", "/data"), 401)


def test_a_token_ends_at_its_second(bob: DataApi) -> None:
    body = {**claims_of(bob.token or ""), "exp": int(time.time()) + 2}
    short = DataApi(bob.server, by_hand(bob.server, body))
    assert short.ask("GET", "/data").status == 200
    time.sleep(max(0.0, body["exp"] - time.time()) + 0.05)
    refused(short.ask("GET", "/data"), 401)


def test_tokens_signed_otherwise_are_401(bob: DataApi) -> None:
    body = claims_of(bob.token or "")
    head, payload, signature = (bob.token or "").split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","kid":"1"}').decode().rstrip("=")
    rsa = RSAKey.generate_key(2048)
    forged = [
        by_hand(bob.server, body, key=b"k" * 32),
        by_hand(bob.server, body, kid="2"),
        by_hand(bob.server, body, jku="https://evil.example/keys"),
        jws.serialize_compact({"alg": "RS256", "kid": "1"}, json.dumps(body), rsa),
        f"{none}.{payload}.{signature}",
        f"{head}.{payload}.{signature[:-2]}",
        f"{head}.{payload[:-4]}.{signature}",
    ]
    for token in forged:
        refused(DataApi(bob.server, token).ask("GET", "/data"), 401)


def test_a_revoked_token_and_a_disabled_user_are_401(server: RunningServer) -> None:
    name = fresh()
    bob = someone(server, name=name)
    other = DataApi(server, server.user(name))
    server.call("DELETE", f"/tokens/{claims_of(bob.token or '')['jti']}")
    refused(bob.ask("GET", "/data"), 401)
    assert other.ask("GET", "/data").status == 200
    server.call("PUT", f"/users/{name}", {"disabled": True})
    refused(other.ask("GET", "/data"), 401)
    server.call("PUT", f"/users/{name}", {"disabled": False})
    assert other.ask("GET", "/data").status == 200
    server.call("DELETE", f"/users/{name}")
    refused(other.ask("GET", "/data"), 401)


def test_a_refusal_never_repeats_the_token(bob: DataApi) -> None:
    token = by_hand(bob.server, claims_of(bob.token or ""), key=b"k" * 32)
    assert token[-20:] not in refused(DataApi(bob.server, token).ask("GET", "/data"), 401)


# --- jobs ------------------------------------------------------------------------------------------------------------


def test_a_jobs_token_gets_urls_for_outputs(server: RunningServer) -> None:
    job = f"12.{secrets.token_hex(4)}"
    worker = someone(server, job=job)
    answer = worker.ask("POST", "/data/output", {"name": "dir/a b.tgz"})
    assert (answer.status, list(answer.json)) == (201, ["url"])
    url = answer.json["url"]
    assert url.startswith(f"{server.url}/prominence-data/scratch/{job}/dir/a%20b.tgz?AWSAccessKeyId=")
    assert 7190 < int(parse_qs(urlsplit(url).query)["Expires"][0]) - time.time() <= 7200
    assert ask(url, "PUT", b"out").status == 201
    assert worker.get(f"scratch/{job}/dir/a b.tgz") == b"out"
    assert worker.names() == []
    refused(worker.ask("POST", "/data/download", {"name": f"scratch/{job}x/a"}), 403)
    refused(worker.ask("POST", "/data/download", {"name": f"scratch/{job}/../a"}), 400)
    refused(someone(server, job="other").ask("POST", "/data/download", {"name": f"scratch/{job}/dir/a b.tgz"}), 403)


def test_a_jobs_token_acts_as_its_user_too(server: RunningServer) -> None:
    name, vo = fresh(), fresh("vo")
    bob = someone(server, vo, name=name)
    bob.put("x", b"1")
    worker = someone(server, vo, name=name, job="7")
    assert (worker.names(), worker.get("x"), worker.put(f"{vo}/y", b"2").status) == (["x"], b"1", 201)


@pytest.mark.parametrize("name", ["", "/a", "a/", "a//b", "./a", "a/..", "..", "a#b", "a%41", "x" * 1001, 7, None])
def test_output_names_that_cannot_be_are_400(server: RunningServer, name: object) -> None:
    refused(someone(server, job="7").ask("POST", "/data/output", {"name": name}), 400)


def test_without_a_job_there_are_no_outputs(bob: DataApi) -> None:
    refused(bob.ask("POST", "/data/output", {"name": "a"}), 400)
    refused(bob.ask("POST", "/data/output", {}), 400)


# --- providers -------------------------------------------------------------------------------------------------------

JOB_SECRET = "a secret of a PROMINENCE server"


class Provider:
    """An OpenID Connect provider on loopback: what it answers by path, and who asked."""

    def __init__(self, port: int) -> None:
        self.answers: dict[str, tuple[int, object]] = {}
        self.asked: list[tuple[str, str | None]] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked.append((self.path, self.headers["Authorization"]))
                status, value = provider.answers.get(self.path, (404, {}))
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def provider_on(port: int) -> Iterator[Provider]:
    found = Provider(port)
    try:
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module")
def oidc_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def federated(tmp_path_factory: pytest.TempPathFactory, oidc_port: int) -> Iterator[RunningServer]:
    """A server that takes job tokens of a PROMINENCE server, and asks a provider's userinfo about others."""
    environ = {
        "ENTREPOT_PROMINENCE_JOB_TOKEN_SECRET": JOB_SECRET,
        "ENTREPOT_PROMINENCE_OIDC_URL": f"http://127.0.0.1:{oidc_port}",
    }
    with running_server(tmp_path_factory.mktemp("federated") / "data", environ=environ) as running:
        yield running


def signed(secret: str, body: dict[str, Any]) -> str:
    return jws.serialize_compact({"alg": "HS256"}, json.dumps(body), OctKey.import_key(secret))


def job_token(**changed: object) -> str:
    body = {"username": "jobber", "groups": "vo,other", "job": "1234.0", "exp": time.time() + 600, **changed}
    return signed(JOB_SECRET, {name: value for name, value in body.items() if value is not None})


RSA = RSAKey.generate_key(2048, {"kid": "k1"})


def oidc_token(**changed: object) -> str:
    body = {"exp": int(time.time()) + 600, "jti": secrets.token_hex(4), **changed}
    text = json.dumps({name: value for name, value in body.items() if value is not None})
    return jws.serialize_compact({"alg": "RS256", "kid": "k1"}, text, RSA)


def test_job_tokens_of_a_prominence_server_are_taken(federated: RunningServer) -> None:
    worker = DataApi(federated, job_token())
    assert worker.put("x", b"1").status == 201
    assert worker.put("vo/x", b"2").status == 201
    url = worker.ask("POST", "/data/output", {"name": "o"}).json["url"]
    assert key_of(url) == "scratch/1234.0/o"
    assert ask(url, "PUT", b"3").status == 201
    assert DataApi(federated, job_token(groups=["vo"], job=None)).names("vo") == ["vo/x"]
    nothing: tuple[object, ...] = ("", [], None)
    for groups in nothing:
        plain = DataApi(federated, job_token(groups=groups))
        assert plain.names() == ["x"]
        refused(plain.ask("GET", "/data/vo"), 403)


@pytest.mark.parametrize("job", ["a/b", "..", ".", "a b", "x" * 129, "é"])
def test_a_job_that_cannot_be_a_folder_gets_no_outputs(federated: RunningServer, job: str) -> None:
    refused(DataApi(federated, job_token(job=job)).ask("POST", "/data/output", {"name": "a"}), 400)


def test_job_tokens_that_are_wrong_are_401_and_nobody_is_asked(federated: RunningServer, oidc_port: int) -> None:
    with provider_on(oidc_port) as provider:
        provider.answers["/userinfo"] = 200, {"sub": "mallory", "preferred_username": "mallory"}
        for token in (
            signed("another secret of 32 characters..", claims_of(job_token())),
            job_token(exp=None),
            job_token(exp=time.time() - 1),
            job_token(username=None),
            job_token(username=""),
            job_token(groups=7),
        ):
            refused(DataApi(federated, token).ask("GET", "/data"), 401)
        assert provider.asked == []


def test_a_job_token_makes_nobody_an_admin_or_a_robot(federated: RunningServer) -> None:
    robot = fresh("robot")
    federated.call("POST", "/robots", {"name": robot, "project": "default", "role": "maintainer"})
    for name in ("admin", robot):
        token = job_token(username=name, job=None)
        assert DataApi(federated, token, "/api/v1").ask("GET", "/users").status in (401, 403)
        assert DataApi(federated, token).ask("GET", "/data").status in (401, 403)


def test_a_provider_is_asked_once_a_minute_who_a_token_is(federated: RunningServer, oidc_port: int) -> None:
    with provider_on(oidc_port) as provider:
        provider.answers["/userinfo"] = 200, {"sub": "s-1", "preferred_username": "carol", "groups": ["vo", "vo/sub"]}
        carol = DataApi(federated, oidc_token())
        assert carol.put("x", b"1").status == 201
        assert carol.put("vo/c", b"2").status == 201
        assert carol.names() == ["x"]
        assert provider.asked == [("/userinfo", f"Bearer {carol.token}")]
        assert DataApi(federated, oidc_token(iss=provider.url)).names() == ["x"]
        assert len(provider.asked) == 2
        provider.answers["/userinfo"] = 200, {"sub": "s-2"}
        nameless = DataApi(federated, oidc_token())
        assert key_of(nameless.put_url("x")) == "uploads/s-2/x"


def test_tokens_a_provider_need_not_see_never_reach_it(federated: RunningServer, oidc_port: int) -> None:
    with provider_on(oidc_port) as provider:
        provider.answers["/userinfo"] = 200, {"sub": "mallory", "preferred_username": "mallory"}
        for token in (
            "word", "a.b.c", oidc_token(exp=None), oidc_token(exp=int(time.time()) - 1), oidc_token(iss="elsewhere"),
            oidc_token(iss="entrepot"), "eyJhbGciOiJub25lIn0.eyJleHAiOjk5OTk5OTk5OTl9.",
        ):  # fmt: skip
            refused(DataApi(federated, token).ask("GET", "/data"), 401)
        assert provider.asked == []


@pytest.mark.parametrize(
    "answer",
    [(401, {}), (403, {}), (500, {"sub": "x"}), (302, {}), (200, []), (200, {}), (200, {"sub": 7}),
     (200, {"sub": "x", "groups": 7})],
    ids=repr,
)  # fmt: skip
def test_a_provider_that_does_not_vouch_means_401(
    federated: RunningServer, oidc_port: int, answer: tuple[int, object]
) -> None:
    with provider_on(oidc_port) as provider:
        provider.answers["/userinfo"] = answer
        refused(DataApi(federated, oidc_token()).ask("GET", "/data"), 401)
        assert len(provider.asked) == 1


def test_a_provider_that_is_down_means_401_for_its_tokens_alone(federated: RunningServer) -> None:
    refused(DataApi(federated, oidc_token()).ask("GET", "/data"), 401)
    assert someone(federated).ask("GET", "/data").status == 200
    assert DataApi(federated, job_token()).ask("GET", "/data").status == 200


@pytest.mark.slow
def test_a_provider_that_never_answers_means_401_after_five_seconds(federated: RunningServer, oidc_port: int) -> None:
    with socket.create_server(("127.0.0.1", oidc_port)):
        began = time.monotonic()
        refused(DataApi(federated, oidc_token()).ask("GET", "/data"), 401)
        assert 4.5 < time.monotonic() - began < 8


def test_a_name_the_provider_gives_to_two_subjects_belongs_to_the_first(
    federated: RunningServer, oidc_port: int
) -> None:
    with provider_on(oidc_port) as provider:
        provider.answers["/userinfo"] = 200, {"sub": "d-1", "preferred_username": "dora"}
        assert DataApi(federated, oidc_token()).put("x", b"1").status == 201
        provider.answers["/userinfo"] = 200, {"sub": "d-2", "preferred_username": "dora"}
        refused(DataApi(federated, oidc_token()).ask("GET", "/data"), 403)
        provider.answers["/userinfo"] = 200, {"sub": "a-1", "preferred_username": "admin"}
        refused(DataApi(federated, oidc_token()).ask("GET", "/data"), 403)


def test_a_provider_may_name_its_users_as_it_likes(federated: RunningServer, oidc_port: int) -> None:
    with provider_on(oidc_port) as provider:
        for name in ("jürgen", "auth0|5f7c", "urn:user:7", "https://idp.example/u/7"):
            provider.answers["/userinfo"] = 200, {"sub": f"sub {name}", "preferred_username": name}
            user = DataApi(federated, oidc_token())
            assert user.put("x", name.encode()).status == 201
            assert (user.names(), user.get("x")) == (["x"], name.encode())


async def test_a_provider_is_asked_without_any_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("no_proxy", "")
    with provider_on(0) as provider:
        provider.answers["/userinfo"] = 200, {"sub": "x"}
        assert await fetch_json(f"{provider.url}/userinfo", None) == {"sub": "x"}


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, Provider]]:
    """A server that checks an issuer's tokens by its published keys; and that issuer."""
    with provider_on(0) as provider:
        environ = {
            "ENTREPOT_OIDC_ISSUER": provider.url,
            "ENTREPOT_OIDC_AUDIENCE": "entrepot",
        }
        provider.answers["/.well-known/openid-configuration"] = (
            200, {"issuer": provider.url, "jwks_uri": f"{provider.url}/keys"},
        )  # fmt: skip
        provider.answers["/keys"] = 200, {"keys": [RSA.as_dict(private=False)]}
        with running_server(tmp_path_factory.mktemp("trusting") / "data", environ=environ) as running:
            yield running, provider


def test_an_issuers_tokens_are_checked_by_its_keys(trusting: tuple[RunningServer, Provider]) -> None:
    server, provider = trusting
    claims = {"iss": provider.url, "aud": "entrepot", "sub": "e-1", "preferred_username": "erin", "groups": ["vo"]}
    erin = DataApi(server, oidc_token(**claims))
    assert erin.put("x", b"1").status == 201
    assert erin.put("vo/x", b"2").status == 201
    assert erin.names() == ["x"]
    assert [path for path, _ in provider.asked] == ["/.well-known/openid-configuration", "/keys"]
    assert all(authorization is None for _, authorization in provider.asked)
    stranger = RSAKey.generate_key(2048, {"kid": "k1"})
    other_key = jws.serialize_compact({"alg": "RS256", "kid": "k1"}, json.dumps(claims_of(erin.token or "")), stranger)
    unknown = jws.serialize_compact({"alg": "RS256", "kid": "k9"}, json.dumps(claims_of(erin.token or "")), stranger)
    public = OctKey.import_key(json.dumps(RSA.as_dict(private=False)))
    confused = jws.serialize_compact({"alg": "HS256", "kid": "k1"}, json.dumps(claims_of(erin.token or "")), public)
    for token in (
        other_key, unknown, confused, oidc_token(**{**claims, "iss": "elsewhere"}),
        oidc_token(**{**claims, "iss": None}),
        oidc_token(**{**claims, "aud": "other"}), oidc_token(**{**claims, "exp": int(time.time()) - 1}),
        oidc_token(**{**claims, "exp": None}), oidc_token(**{**claims, "sub": None}),
        oidc_token(**{**claims, "nbf": int(time.time()) + 600}),
    ):  # fmt: skip
        refused(DataApi(server, token).ask("GET", "/data"), 401)
    assert len(provider.asked) == 2
