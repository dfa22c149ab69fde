"""`entrepot.Client` and `AsyncClient` against a real server: the same calls, the same results."""

import hashlib
import io
import os
from pathlib import Path

import pytest

import entrepot
from entrepot.errors import BadName, Conflict, Denied, NotFound, Unauthenticated, Unsupported
from tests.running import RunningServer

MIB = 2**20


@pytest.fixture(autouse=True)
def empty_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("ENTREPOT_", "XDG_", "PROMINENCE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def token(server: RunningServer) -> str:
    return server.user("programmer", role="maintainer")


def test_programs_push_pull_list_and_delete(server: RunningServer, token: str, tmp_path: Path) -> None:
    name = server.bucket("sync-client")
    content = os.urandom(3 * MIB)
    (tmp_path / "x").write_bytes(content)
    seen: list[entrepot.Progress] = []
    with entrepot.Client(server.url, token) as client:
        pushed = client.push(tmp_path / "x", f"object:{name}/a/x", progress=seen.append)
        assert pushed.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
        assert (pushed.size, pushed.sent, pushed.saved) == (len(content), len(content), 0)
        assert {one.phase for one in seen} == {"hash", "upload", "commit"}
        assert client.push(tmp_path / "x", f"object:{name}/b/x").sent == 0
        assert client.push(io.BytesIO(b"stream"), f"object:{name}/c").size == 6
        assert [one.key for one in client.list(f"object:{name}/")] == ["a/x", "b/x", "c"]
        assert client.exists(pushed.digest)
        assert not client.exists(f"object:{name}/missing")
        assert Path(client.pull(f"object:{name}/a/x", tmp_path / "y")).read_bytes() == content
        assert client.link(f"object:{name}/a/x", expires_seconds=60).size == len(content)
        client.delete(f"object:{name}/c")
        with pytest.raises(NotFound):
            client.inspect(f"object:{name}/c")
        assert client.me().name == "programmer"


def test_an_object_is_a_seekable_file(server: RunningServer, token: str) -> None:
    name = server.bucket("open-client")
    content = os.urandom(3 * MIB)
    with entrepot.Client(server.url, token) as client:
        client.push(io.BytesIO(content), f"object:{name}/x")
        with client.open(f"object:{name}/x") as file:
            assert file.read(10) == content[:10]
            assert file.seek(-5, io.SEEK_END) == len(content) - 5
            assert file.read() == content[-5:]
            assert file.read() == b""
            file.seek(MIB)
            assert file.read(2 * MIB) == content[MIB:]
            file.seek(0)
            client.push(io.BytesIO(b"other" + content), f"object:{name}/x")
            with pytest.raises(Exception, match=r"range|overwritten") as refused:
                file.read(MIB)
            assert isinstance(refused.value, entrepot.EntrepotError)


async def test_the_async_client_does_the_same(server: RunningServer, token: str, tmp_path: Path) -> None:
    name = server.bucket("async-client")
    content = os.urandom(66 * MIB)
    (tmp_path / "x").write_bytes(content)
    async with entrepot.AsyncClient(server.url, token) as client:
        pushed = await client.push(str(tmp_path / "x"), f"object:{name}/x")
        assert (pushed.size, pushed.sent) == (len(content), len(content))
        assert (await client.push(str(tmp_path / "x"), f"object:{name}/again")).sent == 0
        assert [one.key async for one in client.list(f"object:{name}/")] == ["again", "x"]
        path = await client.pull(f"object:{name}/x", tmp_path / "y")
        assert Path(path).read_bytes() == content
        async with client.open(f"object:{name}/x") as file:
            file.seek(MIB)
            assert await file.read(100) == content[MIB : MIB + 100]
        assert await client.exists(pushed.digest)
        assert (await client.link(f"object:{name}/x")).digest == pushed.digest
        await client.delete(f"object:{name}/x")
        assert (await client.me()).name == "programmer"
        with pytest.raises(NotFound):
            await client.pull(f"object:{name}/x", tmp_path / "z")


def test_refusals_are_the_store_s_errors(server: RunningServer, token: str, tmp_path: Path) -> None:
    name = server.bucket("refusing-client")
    with entrepot.Client(server.url, "a.b.c") as client, pytest.raises(Unauthenticated):
        client.me()
    with entrepot.Client(server.url, "") as client, pytest.raises(Denied):
        client.push(io.BytesIO(b"x"), f"object:{name}/x")
    with entrepot.Client(server.url, token) as client:
        with pytest.raises(Unsupported):
            client.pull("phys/x:1")
        with pytest.raises(BadName):
            client.exists("/etc/passwd")
        client.push(io.BytesIO(b"x"), f"object:{name}/x")
        absent = entrepot.PushOptions(if_absent=True)
        with pytest.raises(Conflict):
            client.push(io.BytesIO(b"y"), f"object:{name}/x", options=absent)


def test_a_token_is_shown_nowhere(server: RunningServer, token: str) -> None:
    lines: list[str] = []
    with entrepot.Client(server.url, token, notice=lines.append) as client:
        client.me()
        assert token not in repr(client)
        assert token not in repr(vars(client))
    assert lines
    assert token not in " ".join(lines)


@pytest.mark.parametrize("key", ["a/../b", "./x", "a//b", "ü?#%2F&+ ~", "a" * 1000])
def test_any_key_is_taken_literally(server: RunningServer, token: str, key: str, tmp_path: Path) -> None:
    name = server.bucket("literal-client")
    with entrepot.Client(server.url, token) as client:
        client.push(io.BytesIO(key.encode()), f"object:{name}/{key}")
        assert client.inspect(f"object:{name}/{key}").key == key
        assert Path(client.pull(f"object:{name}/{key}", tmp_path / "x")).read_text() == key
        client.delete(f"object:{name}/{key}")
