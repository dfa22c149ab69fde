"""Objects of `/api/v1`: keys of every sort, pages, ranges and conditions, blobs by digest, links, `curl -T`."""

import base64
import hashlib
import re
import secrets
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.asking import DataApi, ask, exchange
from tests.calling import Api, admin, bucket, content_digest, problem, sha256, user
from tests.conftest import needs
from tests.running import RunningServer, running_server

KEYS = (
    "two words", "größe/Ω-画像-🧪", "e\u0301 and \u00e9", "..", "../../etc/passwd", "a/../b", "a//b", "/lead", "trail/",
    "a#b?c=d&e", "100%25", "%2F", "a+b&c=d;e,f'g\"h", "\u202egnp.exe", "~", "." * 3, "x" * 1024, "é" * 512, "\\", "<b>",
)  # fmt: skip


@pytest.fixture
def box(server: RunningServer) -> str:
    return bucket(server)


@pytest.fixture
def api(server: RunningServer) -> Api:
    return admin(server)


@pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
def test_any_text_is_a_key_and_means_only_itself(api: Api, box: str, key: str) -> None:
    at = f"/objects/{box}/{quote(key, safe='')}"
    made = api.done("PUT", at, key.encode(), 201)
    assert api.done("GET", at) == key.encode()
    assert api.ask("GET", made.url).body == key.encode(), "the URL it was told"
    assert [one.key for one in api.done("GET", f"/objects/{box}").objects] == [key]
    assert api.done("GET", at.replace("/objects/", "/inspect/", 1)).ref == f"object:default:{box}/{key}"
    upload = api.begin(f"object:{box}/{key}", size=1)
    api.part(upload, 0, b"x")
    assert api.commit(upload, 1).key == key
    api.done("DELETE", at, None, 204)
    assert api.refused("GET", at).status == 404


def test_an_escaped_slash_is_a_slash_and_is_decoded_once(api: Api, box: str) -> None:
    api.done("PUT", f"/objects/{box}/a%2Fb", b"1", 201)
    assert api.done("GET", f"/objects/{box}/a/b") == b"1"
    api.done("PUT", f"/objects/{box}/a%252Fb", b"2", 201)
    assert [one.key for one in api.done("GET", f"/objects/{box}").objects] == ["a%2Fb", "a/b"]
    assert api.refused("GET", f"/objects/{box}%2Fa%2Fb").status == 404


@pytest.mark.parametrize("raw", ["x" * 1025, quote("é" * 513), "a%00b", "a%0Ab", "a%0D", "%7F", "%1F"])
def test_a_key_that_is_too_long_or_has_controls_is_refused(api: Api, box: str, raw: str) -> None:
    assert problem(api.ask("PUT", f"/objects/{box}/{raw}", b"x")).code == "usage"
    assert api.done("GET", f"/objects/{box}").objects == []


@pytest.mark.parametrize("raw", ["%FF", "%C3%28", "%ED%A0%80"])
def test_a_key_that_is_no_utf_8_is_refused(api: Api, box: str, raw: str) -> None:
    assert problem(api.ask("PUT", f"/objects/{box}/{raw}", b"x")).status == 400
    assert problem(api.ask("GET", f"/objects/{box}/{raw}")).status == 400


@pytest.mark.parametrize(
    "name", ["ab", "A-B-C", "a_b/c", "-abc", "abc-", "a" * 64, "data", "oci", "api", "sha256", "x y"]
)
def test_what_is_no_bucket_name_is_refused(api: Api, name: str) -> None:
    assert api.refused("PUT", f"/buckets/{quote(name)}", {}).status in (400, 404)


@pytest.mark.parametrize("to", ["", "nokey", "/key", ":b/k", "object:", "a:b:c/", "p:b"])
def test_what_is_no_object_name_is_refused(api: Api, to: str) -> None:
    for path, name in (("/uploads", "to"), ("/links", "ref")):
        assert api.refused("POST", path, {name: to}).status in (400, 404)


def test_a_bucket_put_again_stays_as_it_is_unless_it_is_told(api: Api) -> None:
    name = f"bucket-{secrets.token_hex(4)}"
    assert not api.done("PUT", f"/buckets/{name}", {}, 201).public
    assert api.done("PUT", f"/buckets/{name}", {"public": True}).public
    assert api.done("PUT", f"/buckets/{name}", {}).public
    assert not api.done("PUT", f"/buckets/{name}", {"public": False}).public


def test_the_bucket_of_areas_is_neither_opened_nor_removed(api: Api) -> None:
    assert api.refused("PUT", "/buckets/prominence-data", {"public": True}).status == 400
    found = api.refused("DELETE", "/buckets/prominence-data")
    assert (found.status, "areas" in found.message) == (409, True)


def test_a_bucket_goes_when_it_is_empty(api: Api, box: str) -> None:
    api.put(f"{box}/a", b"x")
    assert api.refused("DELETE", f"/buckets/{box}").status == 409
    api.done("DELETE", f"/objects/{box}/a", None, 204)
    api.done("DELETE", f"/buckets/{box}", None, 204)
    api.done("PUT", f"/buckets/{box}", {}, 201)
    assert api.done("GET", f"/objects/{box}").objects == []


def test_a_list_goes_on_where_it_stopped(api: Api, box: str) -> None:
    keys = sorted(f"{n % 7}/{n:03}" for n in range(25))
    for key in keys:
        api.put(f"{box}/{key}", b"")
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = api.done("GET", f"/objects/{box}?limit=4&after={quote(after)}")
        assert len(page.objects) <= 4
        found += [one.key for one in page.objects]
        after = page.next
    assert found == keys
    page = api.done("GET", f"/objects/{box}?prefix=3/")
    assert [one.key for one in page.objects] == [key for key in keys if key.startswith("3/")]
    page = api.done("GET", f"/objects/{box}?delimiter=/")
    assert (page.objects, [one.prefix for one in page.prefixes]) == ([], [f"{n}/" for n in range(7)])
    page = api.done("GET", f"/objects/{box}?delimiter=/&limit=3&after=1/")
    assert ([one.prefix for one in page.prefixes], page.next) == (["2/", "3/", "4/"], "4/")
    page = api.done("GET", f"/objects/{box}?delimiter=/&prefix=2/&limit=2")
    assert len(page.objects) == 2
    assert api.done("GET", f"/objects/{box}?prefix=nothing").objects == []
    assert len(api.done("GET", f"/objects/{box}?limit=0").objects) == 1
    assert len(api.done("GET", f"/objects/{box}?limit=999999").objects) == 25


def test_ranges_and_conditions(api: Api, box: str) -> None:
    data = bytes(range(100))
    api.put(f"{box}/a", data)
    at = f"/objects/{box}/a"
    whole = api.ask("GET", at)
    etag, modified = whole["etag"], whole["last-modified"]
    assert whole["accept-ranges"] == "bytes"
    assert whole["repr-digest"] == content_digest(data)
    assert re.fullmatch(r'"[0-9a-f]+"', etag)
    for text, start, stop in (
        ("0-9", 0, 10), ("90-", 90, 100), ("-5", 95, 100), ("-1000", 0, 100), ("5-5", 5, 6), ("98-2000", 98, 100)
    ):  # fmt: skip
        answer = api.ask("GET", at, None, {"Range": f"bytes={text}"})
        assert (answer.status, answer.body) == (206, data[start:stop])
        assert answer["content-range"] == f"bytes {start}-{stop - 1}/100"
        assert answer["repr-digest"] == content_digest(data), "of the whole"
    for text in ("100-", "200-300", "-0"):
        answer = api.ask("GET", at, None, {"Range": f"bytes={text}"})
        assert (problem(answer).status, answer["content-range"]) == (416, "bytes */100")
    for text in ("bytes=0-1,4-5", "bytes=5-2", "items=0-1", "bytes=a-b"):
        assert api.ask("GET", at, None, {"Range": text}).status == 200, "what is not understood is left out"
    assert api.ask("GET", at, None, {"Range": "bytes=0-1", "If-Range": etag}).status == 206
    assert api.ask("GET", at, None, {"Range": "bytes=0-1", "If-Range": '"other"'}).status == 200
    for headers, status in (
        ({"If-None-Match": etag}, 304), ({"If-None-Match": f'"x", W/{etag}'}, 304), ({"If-None-Match": '"x"'}, 200),
        ({"If-Match": etag}, 200), ({"If-Match": '"x"'}, 412), ({"If-Modified-Since": modified}, 304),
        ({"If-Unmodified-Since": "Thu, 01 Jan 2015 00:00:00 GMT"}, 412), ({"If-Modified-Since": "nonsense"}, 200),
    ):  # fmt: skip
        answer = api.ask("GET", at, None, headers)
        assert (answer.status, "etag" in answer) == (status, status != 412)
        assert len(answer.body) == (100 if status == 200 else 0) or status == 412
    head = api.ask("HEAD", at)
    assert (head.status, head["content-length"], head["etag"], head.body) == (200, "100", etag, b"")
    assert api.ask("HEAD", at, None, {"Range": "bytes=0-9"})["content-length"] == "10"


def test_an_empty_object_has_no_range(api: Api, box: str) -> None:
    api.put(f"{box}/a", b"")
    answer = api.ask("GET", f"/objects/{box}/a")
    assert (answer.status, answer["content-length"], answer.body) == (200, "0", b"")
    assert api.ask("GET", f"/objects/{box}/a", None, {"Range": "bytes=0-"})["content-range"] == "bytes */0"


def test_type_and_name_cannot_make_a_page_of_it(api: Api, box: str) -> None:
    for kind, key in (("text/html", 'a".html'), ("image/svg+xml", "x\u202e.svg"), ("text/plain", "n\u00e9.txt")):
        api.ask("PUT", f"/objects/{box}/{quote(key)}", b"<script>", {"Content-Type": kind})
        answer = api.ask("GET", f"/objects/{box}/{quote(key)}")
        assert answer["content-type"] == kind
        assert answer["x-content-type-options"] == "nosniff"
        assert answer["content-security-policy"] == "sandbox; default-src 'none'"
        assert answer["content-disposition"].startswith("inline" if kind == "text/plain" else "attachment")
    upload = api.begin(f"{box}/split", size=0, type="text/html\r\nset-cookie: a=b")
    api.commit(upload, 0)
    answer = api.ask("GET", f"/objects/{box}/split")
    assert answer["content-type"] == "application/octet-stream"
    assert "set-cookie" not in answer


def test_a_put_is_verified_and_leaves_nothing_when_it_is_wrong(server: RunningServer, api: Api, box: str) -> None:
    at = f"/objects/{box}/a"
    assert api.refused("PUT", at, b"bytes", {"Content-Digest": content_digest(b"others")}).status == 422
    assert api.refused("PUT", at, b"bytes", {"Content-Digest": "md5=:abc:"}).status == 400
    head = f"PUT /api/v1{at} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token}\r\n"
    cut = exchange(server, f"{head}Content-Length: 10\r\n\r\nshort".encode(), 0.5)
    assert cut == b"", "a body that stops is waited for"
    assert api.refused("GET", at).status == 404
    assert api.done("PUT", at, b"bytes", 201, {"Content-Digest": content_digest(b"bytes")}).size == 5
    assert api.refused("PUT", at, b"other", {"If-None-Match": "*"}).status == 412
    assert api.done("GET", at) == b"bytes"


def test_post_is_taken_for_put(api: Api, box: str) -> None:
    assert api.done("POST", f"/objects/{box}/a", b"by post", 201).size == 7
    assert api.get(f"{box}/a") == b"by post"


@pytest.mark.parametrize("plain", [True, False])
def test_curl_t_is_told_the_sha256(tls_server: RunningServer, tmp_path: Path, plain: bool) -> None:
    box, data = bucket(tls_server), secrets.token_bytes(300_000)
    (tmp_path / "out.tgz").write_bytes(data)
    command = [needs("curl", "curl"), "-fsS", "--cacert", str(tls_server.cafile), "-T", str(tmp_path / "out.tgz")]
    command += [
        "-H",
        f"Authorization: Bearer {tls_server.admin_token}",
        *(["-H", "Accept: text/plain"] if plain else []),
    ]
    url = f"{tls_server.url}/api/v1/objects/{box}/ci/app/out.tgz"
    done = subprocess.run([*command, f"{url}?expires=14d"], capture_output=True, text=True, timeout=30, check=True)
    told = url.replace(f"/{box}/", f"/default:{box}/")
    if plain:
        assert done.stdout == f"{sha256(data)}  {told}\n"
    else:
        assert done.stdout == f'{{"url":"{told}","sha256":"{sha256(data)}","size":300000}}'
    assert admin(tls_server).done("GET", f"/inspect/{box}/ci/app/out.tgz").expires
    assert admin(tls_server).ask("GET", told).body == data


def test_a_blob_is_read_by_who_may_read_a_name_of_it(server: RunningServer, api: Api) -> None:
    private, data = bucket(server), secrets.token_bytes(30)
    api.put(f"{private}/a", data)
    at = f"/blobs/sha256:{sha256(data)}"
    nobody, (name, stranger) = Api(server), user(server)
    assert api.done("GET", at) == data
    assert stranger.refused("GET", at).status == 404
    assert nobody.refused("GET", at).status == 401
    assert nobody.refused("GET", f"/blobs/sha256:{'0' * 64}").status == 401
    public = bucket(server, public=True)
    api.put(f"{public}/b", data)
    for one in (nobody, stranger):
        answer = one.ask("GET", at, None, {"Range": "bytes=1-3"})
        assert (answer.status, answer.body, answer["repr-digest"]) == (206, data[1:4], content_digest(data))
        assert one.done("HEAD", at.replace("sha256:", "")) == b""
        assert one.ask("GET", at, None, {"If-None-Match": f'"{sha256(data)}"'}).status == 304
    assert name not in str(api.ask("HEAD", at).headers)
    assert api.refused("GET", "/blobs/sha256:abc").status == 400
    assert api.refused("GET", "/blobs/md5:abc").status == 400


def test_a_blob_in_an_area_is_read_by_its_owner_alone(server: RunningServer, api: Api) -> None:
    data, group = secrets.token_bytes(30), f"g{secrets.token_hex(3)}"
    (_, mine), (_, other) = user(server, groups=(group,)), user(server, "owner")
    assert DataApi(server, mine.token).put("a.sif", data).status == 201
    at = f"/blobs/sha256:{sha256(data)}"
    assert mine.done("GET", at) == data
    assert other.refused("GET", at).status == 404
    assert other.refused("GET", at).message == other.refused("GET", f"/blobs/sha256:{'0' * 64}").message.replace(
        "0" * 64, sha256(data)
    )
    assert Api(server).refused("GET", at).status == 401
    assert DataApi(server, mine.token).put(f"{group}/b.sif", data).status == 201
    assert user(server, groups=(group,))[1].done("GET", at) == data
    assert user(server, groups=(group[:-1],))[1].refused("GET", at).status == 404


def test_who_was_told_that_bytes_are_here_does_not_lose_them_for_a_day(tmp_path: Path) -> None:
    kept, lost = secrets.token_bytes(50_000), secrets.token_bytes(50_000)
    environ = {"ENTREPOT_COLLECT_SECONDS": "0.3", "ENTREPOT_REMOVE_GRACE_SECONDS": "0", "ENTREPOT_TRASH_DAYS": "0"}
    with running_server(tmp_path / "data", environ=environ) as own:
        api = admin(own)
        api.done("PUT", "/buckets/box", {}, 201)
        for key, data in (("kept", kept), ("lost", lost)):
            api.put(f"box/{key}", data)
            api.done("GET", f"/blobs/{sha256(data)}")
        api.done("HEAD", f"/blobs/{sha256(kept)}")
        for key in ("kept", "lost"):
            api.done("DELETE", f"/objects/box/{key}", None, 204)
        files = tmp_path / "data" / "blobs"
        for _ in range(100):
            if not list(files.glob(f"??/{sha256(lost)}.*")):
                break
            time.sleep(0.1)
        time.sleep(0.7)
        assert not list(files.glob(f"??/{sha256(lost)}.*"))
        assert api.refused("GET", f"/blobs/{sha256(lost)}").status == 404
        assert api.refused("GET", f"/blobs/{sha256(kept)}").status == 404  # told of them, not given the right to read
        assert list(files.glob(f"??/{sha256(kept)}.*"))


def test_a_link_is_a_get_of_one_name_until_it_ends(server: RunningServer, api: Api, box: str) -> None:
    api.put(f"{box}/a b", b"linked")
    link = api.done("POST", "/links", {"ref": f"object:default:{box}/a b", "seconds": 2}, 201)
    assert (link.digest, link.size) == (f"sha256:{sha256(b'linked')}", 6)
    assert ask(link.url).body == b"linked"
    assert ask(link.url, "PUT", b"x").status == 403
    assert ask(link.url.replace("a%20b", "c")).status == 403
    assert ask(link.url, headers={"Authorization": "Bearer nonsense"}).status == 200, "a token beside it is ignored"
    time.sleep(3)
    assert ask(link.url).status == 403
    for seconds in (0, -1, 864_001):
        assert api.refused("POST", "/links", {"ref": f"{box}/a b", "seconds": seconds}).status == 400
    assert api.refused("POST", "/links", {"ref": f"{box}/none"}).status == 404
    assert Api(server).refused("POST", "/links", {"ref": f"{box}/a b"}).status == 401
    assert user(server)[1].refused("POST", "/links", {"ref": f"{box}/a b"}).status == 404


def test_a_link_dies_with_its_maker(server: RunningServer, api: Api, box: str) -> None:
    api.put(f"{box}/a", b"linked")
    name, reader = user(server, "reader")
    url = reader.done("POST", "/links", {"ref": f"{box}/a"}, 201).url
    assert ask(url).status == 200
    api.done("PUT", f"/users/{name}", {"disabled": True})
    assert ask(url).status == 403
    api.done("PUT", f"/users/{name}", {"disabled": False})
    assert ask(url).status == 200
    api.done("DELETE", f"/users/{name}", None, 204)
    assert ask(url).status == 403


def test_an_objects_checksums_are_those_of_its_bytes(api: Api, box: str) -> None:
    data = secrets.token_bytes(40)
    api.put(f"{box}/a", data)
    found = api.done("GET", f"/inspect/{box}/a")
    assert found.digest == f"sha256:{sha256(data)}"
    assert all(hashlib.new(name, data).hexdigest() == text for name, text in found.checksums.items())
    assert base64.b64decode(api.ask("GET", f"/objects/{box}/a")["repr-digest"][9:-1]).hex() == sha256(data)
