"""What a PROMINENCE client's request line means."""

from contextlib import suppress
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.errors import BadName, EntrepotError
from entrepot.protocols.base import MethodNotAllowed, NoSuchRoute
from entrepot.protocols.data.requests import (
    AskDownload,
    AskOutput,
    AskUpload,
    Call,
    Delete,
    ListGroup,
    ListOwn,
    parse,
)

MEANT: dict[tuple[str, bytes], Call] = {
    ("POST", b"/data"): AskUpload(),
    ("POST", b"/data/"): AskUpload(),
    ("POST", b"/data/upload"): AskUpload(),
    ("POST", b"/data/output"): AskOutput(),
    ("POST", b"/data/download"): AskDownload(),
    ("GET", b"/data"): ListOwn(),
    ("GET", b"/data/"): ListOwn(),
    ("HEAD", b"/data"): ListOwn(),
    ("GET", b"/data/vo"): ListGroup("vo"),
    ("HEAD", b"/data/vo/a%20b"): ListGroup("vo/a b"),
    ("GET", b"/data//vo"): ListGroup("/vo"),
    ("GET", b"/data/upload"): ListGroup("upload"),
    ("DELETE", b"/data/x"): Delete("x"),
    ("DELETE", b"/data/upload"): Delete("upload"),
    ("DELETE", b"/data/output"): Delete("output"),
    ("DELETE", b"/data/vo/x%2Fy"): Delete("vo/x/y"),
    ("DELETE", b"/data/a+b"): Delete("a+b"),
    ("DELETE", b"/data/%2541"): Delete("%41"),
    ("DELETE", b"/data/a/../b"): Delete("a/../b"),
    ("DELETE", b"/data/a\nb"): Delete("a\nb"),
    ("DELETE", b"/data/data"): Delete("data"),
    ("DELETE", b"/data/prominence/v1/data/x"): Delete("prominence/v1/data/x"),
}
PREFIXES = [b"", b"/", b"/prominence/v1", b"/prominence/v1/", b"//prominence//v1///"]


@pytest.mark.parametrize(("line", "call"), MEANT.items(), ids=lambda value: str(value)[:40])
def test_each_request_line_means_one_call_under_every_alias(line: tuple[str, bytes], call: Call) -> None:
    method, path = line
    for prefix in PREFIXES:
        assert parse(method, prefix + path) == call


@pytest.mark.parametrize(
    "path",
    [b"/", b"", b"/datax", b"/Data", b"/prominence/v1", b"/prominence/v2/data", b"/v1/data", b"/prominence/data",
     b"/prominence/v1x/data", b"/x/data", b"/%64ata", b"data"],
)  # fmt: skip
def test_other_paths_mean_nothing(path: bytes) -> None:
    for method in ("GET", "POST", "DELETE", "PUT"):
        with pytest.raises(NoSuchRoute):
            parse(method, path)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", b"/data", "GET, HEAD, POST"),
        ("DELETE", b"/data/", "GET, HEAD, POST"),
        ("PUT", b"/data/upload", "GET, HEAD, DELETE, POST"),
        ("POST", b"/data/x", "GET, HEAD, DELETE"),
        ("get", b"/data", "GET, HEAD, POST"),
    ],
)
def test_a_wrong_method_names_the_right_ones(method: str, path: bytes, allow: str) -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        parse(method, path)
    assert caught.value.allow == allow


@given(st.text(min_size=1))
def test_any_name_comes_out_as_it_was_quoted(name: str) -> None:
    with suppress(UnicodeEncodeError):
        assert parse("DELETE", f"/data/{quote(name)}".encode()) == Delete(name)
        assert parse("GET", f"/prominence/v1/data/{quote(name, safe='')}".encode()) == ListGroup(name)


@given(st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "x"]), st.binary(max_size=40))
def test_any_request_line_is_a_call_or_a_refusal(method: str, rest: bytes) -> None:
    for path in (rest, b"/data/" + rest, b"/data" + rest, b"/prominence/" + rest):
        with suppress(EntrepotError):
            assert isinstance(parse(method, path), Call)


def test_a_name_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(BadName):
        parse("DELETE", b"/data/%ff")
