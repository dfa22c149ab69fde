"""Forms: any split of the bytes means the same form; limits; and whatever is broken is refused."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from entrepot.errors import BadRequest, BodyCut, EntrepotError, TooLarge
from entrepot.protocols.base import Request, UnsupportedType
from entrepot.protocols.forms import MAX_FIELD_BYTES, MAX_FIELDS, read_form
from tests.asking import BOUNDARY, FORM_TYPE, form_body
from tests.wire import MemoryWire, request_of


@dataclass(frozen=True)
class Read:
    """A form with its file in one piece."""

    fields: tuple[tuple[str, str], ...]
    file: bytes | None
    filename: str
    content_type: str
    batches: tuple[int, ...] = ()


def read(batches: Sequence[Sequence[bytes | memoryview]], kind: str = FORM_TYPE["Content-Type"]) -> Read:
    async def run() -> Read:
        form = await read_form(request_of("POST", b"/b", b"", [(b"content-type", kind.encode("latin-1"))], *batches))
        file, lengths = None, []
        if form.file is not None:
            file = b""
            async for pieces in form.file:
                lengths.append(sum(map(len, pieces)))
                file += b"".join(pieces)
        return Read(form.fields, file, form.filename, form.content_type, tuple(lengths))

    return asyncio.run(run())


def whole(data: bytes, kind: str = FORM_TYPE["Content-Type"]) -> Read:
    return read([[data]] if data else [], kind)


def split(data: bytes, cuts: Sequence[int], ends: Sequence[bool]) -> list[list[bytes]]:
    """`data` cut at these places, a batch of the request ending where `ends` says."""
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    batches: list[list[bytes]] = [[]]
    for index, (start, stop) in enumerate(pairwise(places)):
        if start < stop:
            batches[-1].append(data[start:stop])
        if index < len(ends) and ends[index]:
            batches.append([])
    return batches


CRUEL = st.sampled_from([b"\r", b"\n", b"\r\n", b"--", f"--{BOUNDARY}".encode()[:-1], b"\r\n--", b"x", b"\x00", b"-"])
FILES = st.lists(CRUEL | st.binary(max_size=6), max_size=12).map(b"".join).filter(
    lambda data: f"\r\n--{BOUNDARY}".encode() not in b"\r\n" + data + b"\r\n"
)  # fmt: skip
VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
LETTERS = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\%')
NAMES = st.text(LETTERS, min_size=1, max_size=8).filter(lambda name: name.lower() != "file")


@given(
    st.lists(st.tuples(NAMES, VALUES), max_size=4),
    FILES,
    st.lists(st.integers(0, 2000), max_size=12),
    st.lists(st.booleans(), max_size=12),
    st.booleans(),
)
@example([], b"", [], [], False)
@example([("key", "a")], b"\r\n--7d9c1f0e5", [1, 2, 3, 150, 151, 152], [True] * 6, False)
def test_any_split_of_a_form_into_pieces_means_the_same(
    fields: list[tuple[str, str]], file: bytes, cuts: list[int], ends: list[bool], named: bool
) -> None:
    body = form_body(fields, file, filename="größe.sif", name_every_part=named, after=[("late", "ignored")])
    found = read(split(body, cuts, ends))
    assert found.fields == tuple(fields)
    assert (found.file, found.filename, found.content_type) == (file, "größe.sif", "")


def test_each_byte_by_itself_means_the_same_too() -> None:
    body = form_body([("key", "uploads/x"), ("policy", "e30=")], b"\r\n--7d9c1f0e5\r\n\r\r\n-", after=[("late", "x")])
    expected = whole(body)
    assert expected.file == b"\r\n--7d9c1f0e5\r\n\r\r\n-"
    for batches in ([[bytes([byte]) for byte in body]], [[bytes([byte])] for byte in body]):
        found = read(batches)
        assert (found.fields, found.file) == (expected.fields, expected.file)


def test_pieces_may_be_views_of_a_larger_buffer() -> None:
    body = form_body([("key", "a")], b"0123456789")
    assert read([[memoryview(body)[:70], memoryview(body)[70:]]]).file == b"0123456789"


def test_the_file_leaves_in_the_batches_it_came_in() -> None:
    """So no more of it is in memory than the connection would hold."""
    head, _, tail = form_body([], b"#").partition(b"#")
    found = read([[head, b"a" * 10], [b"b" * 20, b"b" * 20], [], [b"c" * 30, tail]])
    assert found.file == b"a" * 10 + b"b" * 40 + b"c" * 30
    assert found.batches == (10, 40, 30)


def test_the_file_is_known_by_its_name() -> None:
    body = form_body([("first", "1")], b"abc", name_every_part=True)
    assert (whole(body).fields, whole(body).file) == ((("first", "1"),), b"abc")
    assert whole(form_body([], b"abc", file_field="File")).file == b"abc"
    other = whole(form_body([("key", "a")], b"abc", file_field="data"))
    assert (other.file, other.fields) == (None, (("key", "a"), ("data", "abc")))
    assert whole(form_body([], None)) == Read((), None, "", "")


def test_a_file_says_its_type() -> None:
    body = form_body([], b"abc").replace(b"\r\n\r\nabc", b"\r\nContent-Type: image/png\r\n\r\nabc")
    assert whole(body).content_type == "image/png"


def test_fields_are_limited_in_number_and_bytes() -> None:
    fields = [(f"f{number}", "") for number in range(MAX_FIELDS)]
    assert len(whole(form_body(fields, b"x")).fields) == MAX_FIELDS
    for count in (MAX_FIELDS + 1, 10_000):
        with pytest.raises(TooLarge):
            whole(form_body([(f"f{number}", "") for number in range(count)], b"x"))
    assert whole(form_body([("f", "y" * MAX_FIELD_BYTES)], b"x")).file == b"x"
    for fields in ([("f", "y" * (MAX_FIELD_BYTES + 1))], [("f", "y" * MAX_FIELD_BYTES), ("g", "z")]):
        with pytest.raises(TooLarge):
            whole(form_body(fields, b"x"))


def test_a_field_without_end_is_refused_before_it_fills_the_memory() -> None:
    head = form_body([("f", "")], None).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    asked = 0

    def endless() -> Iterator[list[bytes]]:
        nonlocal asked
        yield [head]
        while True:
            asked += 1
            yield [b"y" * 1000]

    async def run() -> None:
        kind = (b"content-type", FORM_TYPE["Content-Type"].encode())
        request = Request("POST", b"/b", b"", [kind], MemoryWire(endless()))
        await read_form(request)

    with pytest.raises(TooLarge):
        asyncio.run(run())
    assert asked < 100


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=x",
     f"multipart/form-data; boundary={'b' * 201}", 'multipart/form-data; boundary="a\r\nb"', "application/json"],
)  # fmt: skip
def test_other_types_are_not_forms(kind: str) -> None:
    with pytest.raises(UnsupportedType):
        whole(form_body([], b"x"), kind)


def test_the_type_may_be_written_in_any_case_and_quoted() -> None:
    body = form_body([], b"x")
    assert whole(body, f"Multipart/Form-Data; Boundary={BOUNDARY}").file == b"x"
    assert whole(body, f'multipart/form-data; charset=utf-8; boundary="{BOUNDARY}"').file == b"x"


@given(st.integers(0, 400), st.booleans())
def test_a_form_that_ends_early_is_cut(length: int, with_file: bool) -> None:
    body = form_body([("key", "a"), ("policy", "b")], b"0123456789" * 10 if with_file else None)
    cut = body[: min(length, len(body) - 3)]
    with pytest.raises(BodyCut):
        whole(cut)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Content-Disposition", b"Content-Something"),
        (b"form-data;", b"attachment;"),
        (b"\r\n\r\n", b"\n\n"),
        (b": form", b" form"),
        (b'"key"', b'"\xff"'),
    ],
)
def test_a_part_that_cannot_be_read_is_refused(old: bytes, new: bytes) -> None:
    body = form_body([("key", "a")], b"x")
    assert old in body
    with pytest.raises(BadRequest):
        whole(body.replace(old, new))


def test_a_value_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(BadRequest):
        whole(form_body([("key", "VALUE")], b"x").replace(b"VALUE", b"\xff\xfe"))


@given(st.lists(CRUEL | st.binary(max_size=20) | st.just(form_body([("a", "b")], b"c")), max_size=6).map(b"".join))
def test_any_bytes_are_a_form_or_a_refusal(data: bytes) -> None:
    try:
        found = whole(data)
    except EntrepotError:
        return
    assert isinstance(found, Read)
