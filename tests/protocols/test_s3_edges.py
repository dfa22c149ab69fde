"""Requests at the edge of what S3 has: forms, headers, names of buckets, hosts, what a browser is shown."""

import html
import re
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests.asking import ask
from tests.calling import Api, sha256
from tests.protocols.rights import signed
from tests.protocols.s3_people import NOBODY, People, code, new_people, tag, tags
from tests.running import RunningServer, running_server

FAR = "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"
COPY = "x-amz-copy-source"
ELEVEN = "".join(f"<Tag><Key>k{number}</Key><Value/></Tag>" for number in range(11))


@pytest.fixture(scope="module")
def people(server: RunningServer) -> People:
    return new_people(server)


@pytest.fixture
def bucket(people: People) -> str:
    """A bucket with one object."""
    name = people.bucket()
    people.done("PUT", f"/{name}/k", b"hello")
    return name


# --- forms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["Content-Type", "Content-Disposition", "Cache-Control", "Content-Language", "x-amz-meta-a"]
)
@pytest.mark.parametrize("text", ["a\r\nX-Injected: yes", "a\nb", "a\x00b", "a\x01b", "a\x7fb"], ids=repr)
def test_a_field_with_control_characters_is_refused(people: People, bucket: str, name: str, text: str) -> None:
    assert people.form("owner", bucket, {"key": "form", name: text}).status == 400
    assert people.text(bucket, "form") is None


@pytest.mark.parametrize(
    "name",
    [
        "x-amz-server-side-encryption", "x-amz-server-side-encryption-customer-algorithm",
        "x-amz-server-side-encryption-aws-kms-key-id", "x-amz-website-redirect-location",
    ],
)  # fmt: skip
def test_what_is_not_implemented_is_refused_wherever_it_stands(people: People, bucket: str, name: str) -> None:
    expected = (501, "NotImplemented")
    assert code(people.form("owner", bucket, {"key": "new", name: "AES256"})) == expected
    for headers in ({name: "AES256"}, {name: "AES256", COPY: f"{bucket}/k"}):
        assert code(people.ask("owner", "PUT", f"/{bucket}/new", b"", headers)) == expected
    assert code(people.ask("owner", "POST", f"/{bucket}/new?uploads", headers={name: "AES256"})) == expected
    assert people.text(bucket, "new") is None


def test_a_source_that_should_be_encrypted_is_refused(people: People, bucket: str) -> None:
    headers = {COPY: f"{bucket}/k", "x-amz-copy-source-server-side-encryption-customer-algorithm": "AES256"}
    for query in ("", f"?partNumber=1&uploadId={people.upload('owner', bucket, 'new')}"):
        assert code(people.ask("owner", "PUT", f"/{bucket}/new{query}", b"", headers)) == (501, "NotImplemented")


def test_a_form_to_a_name_that_should_be_absent_is_refused(people: People, bucket: str) -> None:
    absent = {"If-None-Match": "*"}
    assert people.form("owner", bucket, {"key": "new"}, b"1", absent).status == 204
    assert code(people.form("owner", bucket, {"key": "new"}, b"2", absent)) == (412, "PreconditionFailed")
    assert people.text(bucket, "new") == b"1"


@pytest.mark.parametrize("who", [NOBODY, "owner"])
def test_a_form_has_its_proof_among_its_fields_alone(people: People, who: str) -> None:
    bucket = people.bucket(x_amz_acl="public-read-write")
    scope = "/20261121/us-east-1/s3/aws4_request, SignedHeaders=host, Signature="
    for proof in (f"AWS4-HMAC-SHA256 Credential={people.keys['owner'][0]}{scope}{'0' * 64}", "AWS a:b"):
        assert people.form(who, bucket, {"key": "k"}, headers={"Authorization": proof}).status == 400
    assert people.text(bucket, "k") is None
    assert people.form(who, bucket, {"key": "k"}).status == 204


def test_metadata_of_a_form_keeps_its_bytes(people: People, bucket: str) -> None:
    fields = {"key": "new", "x-amz-meta-a": "日本", "x-amz-meta-b": "é", "Content-Disposition": 'inline; filename="日"'}
    assert people.form("owner", bucket, fields).status == 204
    answer = people.ask("owner", "HEAD", f"/{bucket}/new")
    for name in ("x-amz-meta-a", "x-amz-meta-b", "Content-Disposition"):
        assert answer[name.lower()].encode("latin-1").decode() == fields[name]


@pytest.mark.parametrize("url", ["http://a.example/x?y=1#part", "http://a.example/x?y=1", "http://a.example/x#part"])
def test_the_page_behind_a_form_keeps_its_query_and_fragment(people: People, bucket: str, url: str) -> None:
    answer = people.form("owner", bucket, {"key": "a b&c", "success_action_redirect": url})
    assert answer.status == 303
    found, asked = urlsplit(answer["location"]), urlsplit(url)
    assert (found.netloc, found.path) == (asked.netloc, asked.path)
    told = {"bucket": [bucket], "key": ["a b&c"], "etag": ['"9dd4e461268c8034f5c8564e155c67a6"']}
    assert parse_qs(found.query) == parse_qs(asked.query) | told
    assert found.fragment in ("", asked.fragment)


@pytest.mark.parametrize("url", ["http://[bad", "http://a]/", "ftp://a/", "//a/", "javascript:1"])
def test_where_nobody_can_be_sent_nobody_is_sent(people: People, bucket: str, url: str) -> None:
    assert people.form("owner", bucket, {"key": "k", "success_action_redirect": url}).status == 204


def test_a_form_says_where_its_object_is(people: People, bucket: str) -> None:
    answer = people.form("owner", bucket, {"key": "a b/c", "success_action_status": "201"})
    where = f"{people.server.url}/{bucket}/a%20b/c"
    assert (answer.status, answer["location"], tag("Location", answer)) == (201, where, where)


# --- headers and queries ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("date", [FAR, "Mon, 32 Jan 2020 00:00:00 GMT", "Mon, 01 Jan 1 00:00:00", "x", ""], ids=repr)
def test_a_date_that_is_none_is_no_fault_of_ours(people: People, bucket: str, date: str) -> None:
    scope = "/20261121/us-east-1/s3/aws4_request"
    proof = f"AWS4-HMAC-SHA256 Credential=a{scope}, SignedHeaders=host;date, Signature={'0' * 64}"
    url = f"{people.server.url}/{bucket}/k"
    assert 400 <= ask(url, headers={"Date": date, "Authorization": proof}).status < 500
    for word in ("modified", "unmodified"):
        headers = {COPY: f"{bucket}/k", f"{COPY}-if-{word}-since": date}
        assert people.ask("owner", "PUT", f"/{bucket}/copy", b"", headers).status < 500
        assert people.ask("owner", "GET", f"/{bucket}/k", headers={f"If-{word}-Since": date}).status < 500


def test_a_copy_may_ask_for_no_checksum_algorithm(people: People, bucket: str) -> None:
    data = people.project.encode()
    api = Api(people.server, people.tokens["owner"])
    api.done("PUT", f"/objects/{people.project}:{bucket}/plain", data, 201)
    for source in (f"{bucket}/plain", f"sha256/{sha256(data)}"):
        headers = {COPY: source, "x-amz-checksum-algorithm": ""}
        assert people.ask("owner", "PUT", f"/{bucket}/copy", b"", headers).status == 200
        assert people.text(bucket, "copy") == data


@pytest.mark.parametrize(
    "query", ["partNumber=1", "versionId=null", f"versionId={'0' * 16}", "partNumber=1&versionId="]
)
def test_a_put_of_a_part_or_version_is_not_one_of_an_object(people: People, bucket: str, query: str) -> None:
    for headers in ({}, {COPY: f"{bucket}/k"}):
        for key in ("k", "new"):
            body = b"" if headers else b"other"
            assert people.ask("owner", "PUT", f"/{bucket}/{key}?{query}", body, headers).status == 400
    assert (people.text(bucket, "k"), people.text(bucket, "new")) == (b"hello", None)


def test_an_empty_object_has_a_first_part(people: People, bucket: str) -> None:
    people.done("PUT", f"/{bucket}/empty")
    for method in ("GET", "HEAD"):
        answer = people.ask("owner", method, f"/{bucket}/empty?partNumber=1")
        assert (answer.status, answer.body, answer["content-length"]) == (200, b"", "0")
    assert people.ask("owner", "GET", f"/{bucket}/empty?partNumber=2").status == 416


def test_an_object_has_no_more_than_ten_tags(people: People, bucket: str) -> None:
    document = f"<Tagging><TagSet>{ELEVEN}</TagSet></Tagging>"
    header = {"x-amz-tagging": "&".join(f"k{number}=1" for number in range(11))}
    assert code(people.ask("owner", "PUT", f"/{bucket}/k?tagging", document.encode())) == (400, "InvalidTag")
    assert code(people.ask("owner", "PUT", f"/{bucket}/new", b"x", header)) == (400, "InvalidTag")
    assert code(people.ask("owner", "POST", f"/{bucket}/new?uploads", b"", header)) == (400, "InvalidTag")
    assert code(people.form("owner", bucket, {"key": "new", "tagging": document})) == (400, "InvalidTag")
    assert people.text(bucket, "new") is None


# --- names of buckets ------------------------------------------------------------------------------------------------


def test_a_bucket_may_be_named_with_its_project(people: People, bucket: str) -> None:
    whole = f"/{people.project}%3A{bucket}"
    assert people.ask("owner", "HEAD", whole).status == 200
    for word in ("location", "acl", "versioning", "uploads", "versions"):
        assert people.ask("owner", "GET", f"{whole}?{word}").status == 200, word
    for acl in ("private", "public-read"):
        assert people.ask("owner", "PUT", f"{whole}/k", acl.encode(), {"x-amz-acl": acl}).status == 200
        assert people.text(bucket, "k") == acl.encode()
    assert people.ask("owner", "PUT", f"{whole}?versioning", b"").status == 400
    assert people.ask("owner", "DELETE", f"{whole}/k").status == 204
    assert people.ask("owner", "DELETE", whole).status == 204
    assert people.ask("owner", "HEAD", f"/{bucket}").status == 404


def test_a_bucket_named_with_its_project_is_closed_to_strangers(people: People, bucket: str) -> None:
    whole = f"/{people.project}%3A{bucket}"
    for who in ("stranger", NOBODY):
        for method, rest in (("GET", "/k"), ("GET", ""), ("HEAD", ""), ("PUT", "/k"), ("DELETE", "/k"), ("DELETE", "")):
            assert people.ask(who, method, f"{whole}{rest}").status in (403, 404)
    assert people.text(bucket, "k") == b"hello"


@pytest.mark.parametrize("first", [{}, {"x_amz_acl": "private"}], ids=["plain", "private"])
def test_a_bucket_of_ones_own_is_made_again(people: People, first: dict[str, str]) -> None:
    bucket = people.bucket(**first)
    for headers in ({}, {"x-amz-acl": "private"}):
        assert people.ask("owner", "PUT", f"/{bucket}", headers=headers).status == 200
    other = people.ask("owner", "PUT", f"/{bucket}", headers={"x-amz-acl": "public-read"})
    assert code(other) == (409, "BucketAlreadyExists")


# --- browsers --------------------------------------------------------------------------------------------------------

RULES = (
    b"<CORSConfiguration><CORSRule><AllowedOrigin>http://a.example</AllowedOrigin><AllowedMethod>GET</AllowedMethod>"
    b"</CORSRule></CORSConfiguration>"
)


def test_a_page_may_read_a_bucket_however_its_name_is_written(people: People, bucket: str) -> None:
    people.done("PUT", f"/{bucket}?cors", RULES)
    asked = {"Origin": "http://a.example", "Access-Control-Request-Method": "GET"}
    for name in (bucket, bucket.replace("b", "%62", 1), f"{people.project}%3A{bucket}"):
        answer = people.ask("owner", "GET", f"/{name}/k", headers={"Origin": "http://a.example"})
        assert (answer.status, answer["access-control-allow-origin"]) == (200, "http://a.example")
        preflight = people.ask(NOBODY, "OPTIONS", f"/{name}/k", headers=asked)
        assert (preflight.status, preflight["access-control-allow-origin"]) == (200, "http://a.example")


def links(people: People, target: str) -> dict[str, str]:
    """Address by text of the links of a page that a browser is shown."""
    answer = people.ask(NOBODY, "GET", target, headers={"Accept": "text/html"})
    assert (answer.status, answer["content-type"]) == (200, "text/html; charset=utf-8")
    found = re.findall('<a href="([^"]*)">([^<]*)</a>', answer.body.decode())
    return {html.unescape(text): html.unescape(address) for address, text in found}


def test_a_browser_walks_a_list_by_its_links(people: People) -> None:
    bucket = people.bucket(x_amz_acl="public-read")
    keys = {"a+b/1", "a+b/2", "a+b/3", 'q"<&>é/x', "top"}
    for key in keys:
        people.done("PUT", f"/{bucket}/{quote(key)}", b"", x_amz_acl="public-read")
    top = links(people, f"/{bucket}?delimiter=/")
    assert set(top) == {"a+b/", 'q"<&>é/', "top"}
    seen = set()
    for prefix in ("a+b/", 'q"<&>é/'):
        seen |= set(links(people, top[prefix]))
    assert seen | {"top"} == keys
    target: str | None = f"/{bucket}?prefix=a%2Bb/&delimiter=/&max-keys=1"
    pages = []
    while target:
        page = links(people, target)
        target = page.pop("more", None)
        pages.append(list(page))
        (address,) = page.values()
        assert people.ask(NOBODY, "GET", address).status == 200
    assert pages == [["a+b/1"], ["a+b/2"], ["a+b/3"]]


def test_a_browser_walks_names_with_spaces(people: People) -> None:
    bucket = people.bucket(x_amz_acl="public-read")
    for number in (1, 2):
        people.done("PUT", f"/{bucket}/a%20b/{number}", b"")
    assert set(links(people, links(people, f"/{bucket}?delimiter=/")["a b/"])) == {"a b/1", "a b/2"}
    more = links(people, f"/{bucket}?prefix=a%20b/&max-keys=1")["more"]
    assert set(links(people, more)) == {"a b/2"}


# --- hosts -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    data = tmp_path_factory.mktemp("hosted") / "data"
    with running_server(data, environ={"ENTREPOT_S3_HOSTS": "local.test,s3.local.test"}) as server:
        yield new_people(server)


@pytest.fixture
def _dns(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = socket.getaddrinfo

    def names(host: Any, *rest: Any, **options: Any) -> Any:
        return look_up("127.0.0.1" if str(host).lower().endswith("local.test") else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", names)


def by_host(people: People, host: str) -> str:
    return f"http://{host}:{urlsplit(people.server.url).port}"


@pytest.mark.usefixtures("_dns")
def test_of_two_hosts_the_longer_is_cut_off(hosted: People) -> None:
    bucket, key = hosted.bucket(), hosted.keys["owner"]
    hosted.done("PUT", f"/{bucket}/k", b"hello")
    for host in (f"{bucket}.s3.local.test", f"{bucket}.local.test"):
        assert signed(key, "GET", f"{by_host(hosted, host)}/k").body == b"hello", host
        assert tags("Key", signed(key, "GET", f"{by_host(hosted, host)}/")) == ["k"]
    for host in ("s3.local.test", "local.test"):
        assert signed(key, "GET", f"{by_host(hosted, host)}/{bucket}/k").body == b"hello", host
        assert bucket in tags("Name", signed(key, "GET", f"{by_host(hosted, host)}/"))


@pytest.mark.usefixtures("_dns")
def test_a_form_to_a_bucket_in_the_host_names_it_once(hosted: People) -> None:
    bucket = hosted.bucket()
    named = by_host(hosted, f"{bucket}.s3.local.test")
    fields = {"key": "a b", "success_action_status": "201"}
    answer = hosted.form("owner", bucket, fields, url=f"{named}/")
    assert (answer.status, answer["location"], tag("Location", answer)) == (201, f"{named}/a%20b", f"{named}/a%20b")
    assert hosted.text(bucket, "a%20b") == b"x"
