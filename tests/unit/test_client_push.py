"""The order in which a push asks and sends, without a server: the flow is answered by hand."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from entrepot.client.flow import Each, Flow, Pause, Reply, Request, Work
from entrepot.client.localfile import LocalFile, MemorySource, edges, hash_all
from entrepot.client.progress import Meter, Progress
from entrepot.client.push import PushOptions, push_file, push_source
from entrepot.client.reference import ObjectRef
from entrepot.client.results import Pushed
from entrepot.client.stream import push_stream
from entrepot.errors import Conflict, DigestMismatch, NotFound
from entrepot.shapes import (
    BucketShape,
    Committed,
    ObjectShape,
    PutAnswer,
    Range,
    UploadRequest,
    UploadShape,
    UploadState,
)

TO = ObjectRef("files", "x")
MIB = 2**20
Answer = Callable[[Request], Reply]


def push(content: bytes, answer: Answer) -> tuple[Pushed, list[str]]:
    return play(push_source(MemorySource("x", content), TO, PushOptions(), Meter()), answer)


def reply(status: int, shape: object = None) -> Reply:
    return Reply(status, {}, bytearray(msgspec.json.encode(shape) if shape is not None else b""))


def made(content: bytes) -> ObjectShape:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return ObjectShape("object:default:files/x", "default", "files", "x", digest, len(content))


def play(flow: Flow[Pushed], answer: Answer) -> tuple[Pushed, list[str]]:
    """The result of a flow, and the requests it made, one after the other."""
    asked: list[str] = []

    def run(one: Flow[object]) -> object:
        try:
            ask = next(one)
            while True:
                try:
                    match ask:
                        case Request():
                            asked.append(f"{ask.method} {ask.url}")
                            found: object = answer(ask)
                        case Work(act):
                            found = act()
                        case Each():
                            for each in ask.flows:
                                ask.take(run(each))
                            found = None
                        case Pause():
                            found = None
                except Exception as error:
                    ask = one.throw(error)
                else:
                    ask = one.send(found)
        except StopIteration as done:
            return done.value

    result = run(flow)
    assert isinstance(result, Pushed)
    return result, asked


class Server:
    """Answers as a server would that holds nothing, and remembers what came."""

    def __init__(self, content: bytes, have: list[Range] | None = None, part_size: int = 16 * MIB) -> None:
        self.content = content
        self.upload = UploadShape("http://up/1", part_size, have or [])
        self.parts: dict[int, bytes] = {}
        self.opened: list[UploadRequest] = []

    def __call__(self, request: Request) -> Reply:
        match request.method, request.url:
            case "POST", "/api/v1/uploads":
                self.opened.append(msgspec.json.decode(request.body or b"", type=UploadRequest))
                return reply(201, self.upload)
            case "POST", "http://up/1/commit":
                return reply(201, Committed(made(self.content)))
            case "PUT", url if url.startswith("http://up/1/"):
                self.parts[int(url.rpartition("/")[2])] = bytes(request.body or b"")
                return reply(204)
            case _:
                raise AssertionError(request)


def test_a_small_file_is_one_request() -> None:
    answer = PutAnswer("http://x", hashlib.sha256(b"hello").hexdigest(), 5)
    result, asked = push(b"hello", lambda _: reply(201, answer))
    assert asked == ["PUT /api/v1/objects/files/x"]
    assert (result.size, result.sent, result.saved) == (5, 5, 0)


def test_up_to_64_mib_the_digest_is_asked_for_before_a_byte_is_sent() -> None:
    content = bytes(3 * MIB)
    server = Server(content, part_size=MIB)
    result, asked = push(content, server)
    assert asked[0] == "POST /api/v1/uploads"
    assert server.opened[0].sha256 == hashlib.sha256(content).hexdigest()
    assert server.opened[0].edges is None
    assert b"".join(server.parts[offset] for offset in sorted(server.parts)) == content
    assert result.sent == len(content)


def test_bytes_the_server_has_are_not_sent() -> None:
    content = bytes(MIB)
    result, asked = push(content, lambda _: reply(200, Committed(made(content))))
    assert asked == ["POST /api/v1/uploads"]
    assert (result.sent, result.saved) == (0, MIB)


def test_a_large_file_is_not_hashed_before_the_server_says_maybe() -> None:
    content = bytes(65 * MIB)
    server = Server(content)
    seen: list[str] = []
    meter = Meter(lambda progress: seen.append(progress.phase))
    play(push_source(MemorySource("x", content), TO, PushOptions(), meter), server)
    assert server.opened == [UploadRequest(str(TO), len(content), None, hashlib.sha256(bytes(2 * MIB)).hexdigest())]
    assert "hash" not in seen


def test_maybe_makes_it_hash_all_and_ask_again() -> None:
    content = bytes(65 * MIB)
    digest_hex = hashlib.sha256(content).hexdigest()

    def answer(request: Request) -> Reply:
        asked = msgspec.json.decode(request.body or b"", type=UploadRequest)
        if asked.sha256 is None:
            return reply(201, UploadShape("http://up/1", MIB, maybe=True))
        assert asked.sha256 == digest_hex
        assert asked.edges is not None
        return reply(200, Committed(made(content)))

    result, asked = push(content, answer)
    assert asked == ["POST /api/v1/uploads"] * 2
    assert result.sent == 0


def test_only_ranges_whose_hash_is_its_own_are_skipped() -> None:
    content = b"".join(bytes([number]) * MIB for number in range(4))
    own = hashlib.sha256(content[:MIB]).hexdigest()
    foreign = hashlib.sha256(b"other").hexdigest()
    server = Server(content, [Range(0, MIB, own), Range(MIB, 3 * MIB, foreign)], part_size=MIB)
    result, _ = push(content, server)
    assert sorted(server.parts) == [MIB, 2 * MIB, 3 * MIB]
    assert (result.sent, result.saved) == (3 * MIB, MIB)


def test_a_part_that_arrives_changed_is_sent_again() -> None:
    content = bytes(MIB)
    server, failures = Server(content), [1, 2]

    def answer(request: Request) -> Reply:
        if request.method == "PUT" and failures:
            failures.pop()
            raise DigestMismatch("changed on its way")
        return server(request)

    _, asked = push(content, answer)
    assert asked.count("PUT http://up/1/0") == 3


def test_a_missing_bucket_is_made_only_if_that_is_wanted() -> None:
    there: list[str] = []
    server = Server(bytes(MIB))

    def answer(request: Request) -> Reply:
        if request.url.startswith("/api/v1/buckets/"):
            there.append(request.url)
            return reply(201, BucketShape("default", "files"))
        if not there:
            raise NotFound("no such bucket")
        return server(request)

    source = MemorySource("x", bytes(MIB))
    with pytest.raises(NotFound):
        play(push_source(source, TO, PushOptions(), Meter()), answer)
    _, asked = play(push_source(source, TO, PushOptions(make_bucket=True), Meter()), answer)
    assert asked[:3] == ["POST /api/v1/uploads", "PUT /api/v1/buckets/files", "POST /api/v1/uploads"]


def test_a_commit_that_takes_long_is_asked_for_until_it_is_done() -> None:
    content = bytes(MIB)
    server = Server(content)
    states = [UploadState("completing"), UploadState("done", object=made(content))]

    def answer(request: Request) -> Reply:
        if request.url.endswith("/commit"):
            return reply(202, UploadState("completing"))
        return reply(200, states.pop(0)) if request.method == "GET" else server(request)

    _, asked = push(content, answer)
    assert asked[-2:] == ["GET http://up/1"] * 2


def test_a_commit_whose_answer_was_lost_is_found_by_its_digest() -> None:
    content = bytes(MIB)
    server = Server(content)

    def answer(request: Request) -> Reply:
        if request.url.endswith("/commit"):
            raise NotFound("no such upload")
        return reply(200, made(content)) if request.method == "GET" else server(request)

    result, _ = push(content, answer)
    assert result.digest == made(content).digest


def test_an_upload_that_opens_again_at_commit_is_no_success() -> None:
    server = Server(bytes(MIB))

    def answer(request: Request) -> Reply:
        if request.url.endswith("/commit"):
            return reply(202, UploadState("completing"))
        return reply(200, UploadState("open")) if request.method == "GET" else server(request)

    with pytest.raises(Conflict):
        play(push_source(MemorySource("x", bytes(MIB)), TO, PushOptions(), Meter()), answer)


def test_a_claim_that_does_not_fit_sends_nothing() -> None:
    with pytest.raises(DigestMismatch, match="you gave"):
        play(push_source(MemorySource("x", b"hello"), TO, PushOptions(sha256="0" * 64), Meter()), lambda _: reply(500))


def test_a_file_that_changes_while_it_is_sent_is_not_committed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(2 * MIB))
    server, asked = Server(bytes(2 * MIB), part_size=MIB), list[str]()

    def answer(request: Request) -> Reply:
        asked.append(request.url)
        if request.url.endswith("/0"):
            path.write_bytes(b"1" * 2 * MIB)
        return server(request)

    with pytest.raises(DigestMismatch, match="changed while it was read"):
        play(push_file(str(path), TO, PushOptions(), Meter()), answer)
    assert not any(url.endswith("/commit") for url in asked)


def test_a_file_that_becomes_shorter_is_a_change(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(MIB))
    file = LocalFile.open(str(path))
    path.write_bytes(b"")
    with pytest.raises(DigestMismatch, match="shorter"):
        hash_all(file)
    file.close()


def test_edges_are_the_first_and_the_last_mib() -> None:
    content = b"a" * MIB + b"b" * MIB + b"c" * MIB
    assert edges(MemorySource("x", content)) == hashlib.sha256(b"a" * MIB + b"c" * MIB).hexdigest()
    short = b"a" * 100
    assert edges(MemorySource("x", short)) == hashlib.sha256(short + short).hexdigest()


def test_a_short_stream_is_asked_for_like_a_file() -> None:
    content = bytes(MIB)
    server = Server(content)
    chunks = [content[: MIB // 2], content[MIB // 2 :]]
    play(push_stream(lambda _: chunks.pop(0) if chunks else b"", TO, PushOptions(), Meter()), server)
    assert server.opened[0].size == MIB


def test_a_long_stream_is_sent_as_it_comes() -> None:
    content = b"".join(bytes([number]) * MIB for number in range(18))
    server = Server(content, part_size=8 * MIB)
    position = 0

    def read(most: int) -> bytes:
        nonlocal position
        position += most
        return content[position - most : position]

    result, _ = play(push_stream(read, TO, PushOptions(), Meter()), server)
    assert server.opened == [UploadRequest(str(TO))]
    assert b"".join(server.parts[offset] for offset in sorted(server.parts)) == content
    assert result.sent == len(content)


def test_progress_of_many_files_is_one_sum() -> None:
    seen: list[Progress] = []
    meter = Meter(seen.append, phase="upload", total=10)
    meter.begin("hash", 4)
    meter.moved("hash")(4)
    meter.begin("upload", 4)
    meter.moved("upload")(4)
    meter.skip("upload", 6)
    assert seen == [Progress("upload", 0, 10), Progress("upload", 4, 10), Progress("upload", 10, 10, 6)]
