"""How paths, queries and headers of `/v2/` are read: no socket, no store."""

import base64
from contextlib import suppress
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.errors import (
    BadDigest,
    BadName,
    BadRange,
    BadRequest,
    EntrepotError,
    NoUpload,
    Unauthenticated,
    Unsupported,
)
from entrepot.model import Algorithm, NamedDigest
from entrepot.protocols.base import Header, MethodNotAllowed, NoSuchRoute, Request
from entrepot.protocols.credentials import Basic, proof_of
from entrepot.protocols.oci import calls, requests
from entrepot.protocols.oci.requests import TooManyTags

DIGEST = f"sha256:{'0' * 64}"
UPLOAD = "00000000-0000-4000-8000-000000000000"
NAME = st.from_regex(r"[a-z0-9]{1,5}((\.|_|__|-)[a-z0-9]{1,4})?(/[a-z0-9]{1,5}){0,3}", fullmatch=True)


def request(*headers: Header, method: str = "GET") -> Request:
    return Request(method, b"/v2/", b"", headers, None)  # type: ignore[arg-type]


def call(method: str, path: str) -> calls.Call:
    return requests.parse(method, path.encode())


@pytest.mark.parametrize(
    ("method", "rest", "expected"),
    [
        ("GET", "tags/list", calls.ListTags("a/b")),
        ("HEAD", "manifests/v1", calls.GetManifest("a/b", "v1")),
        ("PUT", "manifests/v1", calls.PutManifest("a/b", "v1")),
        ("DELETE", f"manifests/{DIGEST}", calls.DeleteManifest("a/b", DIGEST)),
        ("GET", f"blobs/{DIGEST.replace(':', '%3A')}", calls.GetBlob("a/b", DIGEST)),
        ("DELETE", f"blobs/{DIGEST}", calls.DeleteBlob("a/b", DIGEST)),
        ("GET", f"referrers/{DIGEST}", calls.ListReferrers("a/b", DIGEST)),
        ("POST", "blobs/uploads", calls.BeginUpload("a/b")),
        ("POST", "blobs/uploads/", calls.BeginUpload("a/b")),
        ("PATCH", f"blobs/uploads/{UPLOAD}", calls.Append("a/b", UPLOAD)),
        ("PUT", f"blobs/uploads/{UPLOAD}", calls.EndUpload("a/b", UPLOAD)),
        ("GET", f"blobs/uploads/{UPLOAD}", calls.ShowUpload("a/b", UPLOAD)),
        ("DELETE", f"blobs/uploads/{UPLOAD}", calls.CancelUpload("a/b", UPLOAD)),
    ],
)
def test_a_path_is_read_from_its_end(method: str, rest: str, expected: calls.Call) -> None:
    assert call(method, f"/v2/a/b/{rest}") == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2", calls.Ping()), ("/v2/", calls.Ping()), ("/v2/token", calls.AskToken()),
        ("/v2/_catalog", calls.ListRepositories()), ("/v2/images/x/tags/list", calls.ListTags("images/x")),
        ("/v2/token/tags/list", calls.ListTags("token")),
        ("/v2/a/manifests/b/tags/list", calls.ListTags("a/manifests/b")),
        ("/v2/a/tags/list/manifests/x", calls.GetManifest("a/tags/list", "x")),
        ("/v2/a/manifests/list", calls.GetManifest("a", "list")),
    ],
)  # fmt: skip
def test_words_of_the_protocol_mean_what_they_do_where_they_stand(path: str, expected: calls.Call) -> None:
    assert call("GET", path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "/v2/a", "/v2/tags/list", "/v2/a/../b/tags/list", "/v2/a/%2e%2E/tags/list", "/v2/a%2Fb/tags/list",
        "/v2/a/manifests/..", "/v2/a/manifests/x%2Fy", "/v2/a/manifests/", "/v2/a/manifests/x%00y", "/v2//",
    ],
)  # fmt: skip
def test_what_leads_nowhere_is_no_route(path: str) -> None:
    with pytest.raises(NoSuchRoute):
        call("GET", path)


@pytest.mark.parametrize("name", ["A", "a..b", "a/-b", "a%20b", "a%25", "a/" * 127 + "ab"])
def test_a_name_out_of_the_grammar_is_none(name: str) -> None:
    with pytest.raises(BadName):
        call("GET", f"/v2/{name}/tags/list")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v2/", "GET, HEAD"), ("/v2/token", "GET, POST, HEAD"), ("/v2/a/blobs/uploads/", "POST"),
        ("/v2/a/manifests/x", "GET, PUT, DELETE, HEAD"),
    ],
)  # fmt: skip
def test_a_method_that_is_none_is_told_those_there_are(path: str, allowed: str) -> None:
    with pytest.raises(MethodNotAllowed) as found:
        call("BREW", path)
    assert found.value.allow == allowed


@given(NAME, st.sampled_from(["tags/list", f"manifests/{DIGEST}", "manifests/Tag_1.x-y", f"blobs/{DIGEST}"]))
def test_every_name_of_the_grammar_comes_out_as_it_went_in(name: str, rest: str) -> None:
    assert getattr(call("GET", f"/v2/{name}/{rest}"), "path", None) == name


@given(
    st.lists(
        st.one_of(st.text(max_size=6), st.sampled_from(["manifests", "blobs", "uploads", "tags", "list"])), max_size=6
    )
)
def test_any_path_is_a_call_or_an_error_of_ours(parts: list[str]) -> None:
    path = "/v2/" + "/".join(quote(part, safe="", errors="surrogatepass") for part in parts)
    with suppress(EntrepotError):
        requests.parse("GET", path.encode())


@given(st.binary(max_size=40), st.sampled_from(["GET", "PUT", "BREW"]))
def test_any_bytes_are_a_call_or_an_error_of_ours(raw: bytes, method: str) -> None:
    with suppress(EntrepotError):
        requests.parse(method, b"/v2/" + raw)


@given(st.binary(max_size=60))
def test_any_query_is_read_or_refused(raw: bytes) -> None:
    with suppress(EntrepotError):
        query = requests.query_of(raw)
        requests.page_in(query)
        requests.digest_in(query, "digest")
        requests.algorithm_in(query)
        requests.tags_in(query)


@pytest.mark.parametrize("text", ["", "x", f"{UPLOAD}0", "../x"])
def test_what_is_no_uuid_is_no_upload(text: str) -> None:
    with pytest.raises(NoUpload):
        requests.upload_id(text)


def test_a_page_is_a_thousand_at_most() -> None:
    assert requests.page_in({}) == ("", 1000)
    assert requests.page_in({"n": ["2147483647"], "last": ["b"]}) == ("b", 1000)
    assert requests.page_in({"n": ["0"]}) == ("", 0)


@pytest.mark.parametrize("number", ["", "-1", "x", "1.0", "٣", " 1", "9" * 19])
def test_a_number_that_is_none_is_refused(number: str) -> None:
    with pytest.raises(Unsupported):
        requests.page_in({"n": [number]})


def test_digests_of_a_query() -> None:
    assert requests.digest_in({}, "digest") is None
    assert requests.digest_in({"digest": [DIGEST]}, "digest") == NamedDigest(Algorithm.SHA256, "0" * 64)
    for text in ("", "x", "sha256:", DIGEST.upper(), f"{DIGEST}0", f"sha512:{'0' * 64}", f"md5:{'0' * 32}"):
        with pytest.raises(BadDigest):
            requests.digest_in({"digest": [text]}, "digest")


def test_algorithms_of_a_query() -> None:
    assert requests.algorithm_in({}) is Algorithm.SHA256
    assert requests.algorithm_in({"digest-algorithm": ["sha512"]}) is Algorithm.SHA512
    for text in ("", "md5", "SHA512"):
        with pytest.raises(BadDigest):
            requests.algorithm_in({"digest-algorithm": [text]})


def test_tags_of_a_query_come_once_each_and_are_a_hundred_at_most() -> None:
    assert requests.tags_in({"tag": ["b", "a", "b"]}) == ["b", "a"]
    assert len(requests.tags_in({"tag": [str(number) for number in range(100)]})) == 100
    with pytest.raises(TooManyTags):
        requests.tags_in({"tag": [str(number) for number in range(101)]})


@pytest.mark.parametrize(
    ("text", "start", "size"),
    [("0-0", 0, 1), ("5-9", 5, 5), ("bytes 5-9/10", 5, 5), ("bytes 5-9/*", 5, 5), ("bytes=5-9", 5, 5), (" 5-9 ", 5, 5)],
)
def test_where_bytes_go(text: str, start: int, size: int) -> None:
    assert requests.range_of(request((b"content-range", text.encode()))) == (start, size)


@pytest.mark.parametrize("text", ["", "x", "5", "5-", "-5", "5-4", "1-2-3", "9" * 19 + "-" + "9" * 19, "٣-٤"])
def test_a_place_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        requests.range_of(request((b"content-range", text.encode())))


def test_without_a_place_bytes_go_behind_the_others() -> None:
    assert requests.range_of(request()) == (None, None)


@pytest.mark.parametrize("text", ["bytes=500-0", "bytes=2-1"])
def test_a_range_that_ends_before_it_begins_is_none(text: str) -> None:
    with pytest.raises(BadRange):
        requests.check_range(request((b"range", text.encode())), 10)


@pytest.mark.parametrize("text", ["bytes=0-0", "bytes=5-", "bytes=-5", "bytes=1-2,2-1", "nonsense"])
def test_other_ranges_are_for_others_to_judge(text: str) -> None:
    requests.check_range(request((b"range", text.encode())), 10)


def basic(text: bytes) -> bytes:
    return b"Basic " + base64.b64encode(text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", None), (b"none", None), (b"Basic Og==", None), (b"Basic ", None), (basic(b"a:b:c"), Basic("a", "b:c")),
        (basic("ü:ä".encode()), Basic("ü", "ä")), (b"bearer x", "x"),
        (b"Bearer  x ", "x"), (basic(b"a"), Basic("a", "")),
    ],
)  # fmt: skip
def test_proofs(value: bytes, expected: Basic | str | None) -> None:
    assert proof_of(request((b"authorization", value))) == expected


@pytest.mark.parametrize("value", [b"Bearer", b"Digest x", b"Basic !", b"Basic \xff", basic(b"\xff:x"), b"x y"])
def test_proofs_that_cannot_be_read(value: bytes) -> None:
    with pytest.raises(Unauthenticated):
        proof_of(request((b"authorization", value)))


def test_two_proofs_are_one_too_many() -> None:
    with pytest.raises(BadRequest):
        proof_of(request((b"authorization", b"Bearer x"), (b"authorization", b"Bearer x")))
