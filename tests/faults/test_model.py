"""The store against a dict: random calls, rot on disk, collectors, and crashes in the middle of a call."""

import asyncio
import hashlib
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from entrepot import failpoints
from entrepot.errors import EntrepotError, NotFound
from entrepot.model import Digest, Facts, FileSpan, ObjectName, Span
from entrepot.services.uploads import Session, Wish
from tests.faults.inside import BUCKET, INLINE_BYTES, Inside, body_of, opened_inside

KEYS = st.sampled_from(["a", "a/b", "c", "ü"])
BODIES = st.builds(
    lambda size, seed: bytes([seed]) * size,
    st.sampled_from([0, 10, INLINE_BYTES, INLINE_BYTES + 1, 90_000]),
    st.integers(1, 3),
)
STEPS = st.sampled_from(
    """
    upload.reserved upload.staged upload.written blob.verified blob.synced blob.renamed blob.folder_synced
    blob.loser_unlinking catalog.committing catalog.committed name.deleted gc.marked gc.unlinking gc.unlinked
    gc.forgotten upload.synced upload.progressed
    """.split()
)
PART = 30_000
UPLOADED = b"".join(bytes([number]) * PART for number in range(3))


class Store(RuleBasedStateMachine):
    """`names` is what a client was promised; `rotten` are digests whose bytes on disk were changed."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.base = Path(tempfile.mkdtemp(prefix="entrepot-model-"))
        self.lives = 0
        self.names: dict[str, bytes] = {}
        self.rotten: set[str] = set()
        self.upload = ""
        self.parts: set[int] = set()

    @initialize()
    def open(self) -> None:
        (self.base / "0").mkdir()
        self.enter()

    def enter(self) -> None:
        self.stack = AsyncExitStack()
        self.folder = self.base / str(self.lives)
        self.inside: Inside = self.runner.run(self.stack.enter_async_context(opened_inside(self.folder)))

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.runner.run(self.stack.aclose())
        self.runner.close()
        shutil.rmtree(self.base)

    def do(self, work: Awaitable[object]) -> object:
        async def wait() -> object:
            return await work

        return self.runner.run(wait())

    async def read(self, key: str) -> bytes:
        """As a client gets it: hashed on the way if the store wants that, and cut if it is wrong."""
        _, blob = await self.inside.objects.find(self.inside.principal, ObjectName(BUCKET, key))
        found = await self.inside.objects.keeping.open(blob, Span())
        if isinstance(found.delivery, bytes):
            return found.delivery
        assert isinstance(found.delivery, FileSpan)
        try:
            data = os.pread(found.delivery.descriptor, blob.size + 1, 0)
        finally:
            found.close()
        if found.must_hash:
            right = hashlib.sha256(data).hexdigest() == blob.digest.hex
            assert found.judge
            await found.judge(right)
            if not right:
                raise NotFound("cut")
        return data

    def found(self, key: str) -> bytes | None:
        with suppress(NotFound):
            data = self.do(self.read(key))
            assert isinstance(data, bytes)
            return data
        return None

    def promised(self, key: str) -> bytes | None:
        data = self.names.get(key)
        return None if data is None or hashlib.sha256(data).hexdigest() in self.rotten else data

    @rule(key=KEYS, data=BODIES)
    def put(self, key: str, data: bytes) -> None:
        self.do(self.inside.put(key, data))
        self.names[key] = data
        self.note_repair(data)

    def note_repair(self, data: bytes) -> None:
        """A push repairs what was found rotten; what nobody has read yet is found first."""
        digest = hashlib.sha256(data).hexdigest()
        if digest in self.rotten and self.quarantined(digest):
            self.rotten.discard(digest)

    def quarantined(self, digest: str) -> bool:
        rows = self.do(self.inside.rows(f"SELECT 1 FROM blob WHERE digest = '{digest}' AND state = 'quarantined'"))
        return bool(rows)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        removed = self.do(self.inside.delete(key))
        assert (removed is None) == (key not in self.names)
        self.names.pop(key, None)

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        assert self.found(key) == self.promised(key)

    @rule(prefix=st.sampled_from(["", "a", "a/", "x"]))
    def list(self, prefix: str) -> None:
        async def page() -> dict[str, int]:
            found = await self.inside.objects.names.page(self.inside.principal, ObjectName(BUCKET, ""), prefix=prefix)
            return {item.key: item.size for item in found.items}  # type: ignore[union-attr]

        expected = {key: len(data) for key, data in self.names.items() if key.startswith(prefix)}
        assert self.do(page()) == expected

    @rule()
    def collect(self) -> None:
        self.do(self.inside.job("expire"))
        self.do(self.inside.job("collect"))
        self.do(self.inside.job("collect"))
        live = {hashlib.sha256(data).hexdigest() for data in self.names.values()}
        kept = self.do(self.inside.rows("SELECT digest FROM blob WHERE state = 'present'"))
        assert {row[0] for row in kept} <= live  # type: ignore[attr-defined]
        self.rotten &= live

    @precondition(lambda self: any(len(data) > INLINE_BYTES for data in self.names.values()))
    @rule(choice=st.integers(0, 10), place=st.floats(0, 0.99), cut=st.booleans())
    def rot(self, choice: int, place: float, cut: bool) -> None:
        """Bytes change on disk; the next reader of any of their names finds out, and a push repairs all of them."""
        large = sorted(key for key, data in self.names.items() if len(data) > INLINE_BYTES)
        key = large[choice % len(large)]
        data = self.names[key]
        digest = hashlib.sha256(data).hexdigest()
        if digest in self.rotten:
            return
        rows = self.do(self.inside.rows(f"SELECT key FROM blob WHERE digest = '{digest}' AND state = 'present'"))
        path = self.folder / "blobs" / digest[:2] / rows[0][0]  # type: ignore[index]
        with path.open("r+b") as file:
            if cut:
                file.truncate(int(len(data) * place))
            else:
                file.seek(int(len(data) * place))
                file.write(b"\xff")
        self.rotten.add(digest)
        assert self.found(key) is None
        assert self.found(key) is None
        if choice % 2:
            self.put(key, data)
            assert digest not in self.rotten
            assert self.found(key) == data

    @rule(number=st.integers(0, 2), wrong=st.sampled_from([False, False, False, True]), all_of_it=st.booleans())
    def upload_a_part(self, number: int, wrong: bool, all_of_it: bool) -> None:
        """Asked for again the open upload has all that was acknowledged. Bytes with another checksum are refused."""
        wish = Wish(ObjectName(BUCKET, "uploaded"), Facts(), len(UPLOADED))
        begun = self.do(self.inside.uploads.begin(self.inside.principal, wish))
        assert isinstance(begun, Session)
        assert begun.resumed == bool(self.upload)
        assert self.upload in ("", begun.id)
        assert {piece.start // PART for piece in begun.have} == self.parts
        self.upload = begun.id
        for one in {number, *({0, 1, 2} if all_of_it else ())} - {number if wrong else -1}:
            self.send(one, wrong=False)
        if wrong:
            self.send(number, wrong=True)

    def send(self, number: int, *, wrong: bool) -> None:
        data = UPLOADED[number * PART : (number + 1) * PART]
        body = body_of(b"?" * PART if wrong else data)
        try:
            self.do(self.inside.uploads.write(self.upload, number * PART, body, hashlib.sha256(data).hexdigest(), PART))
            assert not wrong
            self.parts.add(number)
        except EntrepotError:
            assert wrong
            self.parts.discard(number)  # what was there is written over

    @precondition(lambda self: self.upload)
    @rule()
    def commit_upload(self) -> None:
        digest = Digest(hashlib.sha256(UPLOADED).hexdigest())
        try:
            self.do(self.inside.uploads.commit(self.upload, len(UPLOADED), digest))
        except EntrepotError:
            assert self.parts != {0, 1, 2}
            return
        assert self.parts == {0, 1, 2}
        self.names["uploaded"] = UPLOADED
        self.note_repair(UPLOADED)
        self.upload, self.parts = "", set()

    @rule()
    def crash(self) -> None:
        """The process is gone between two calls."""
        self.go_on_with(self.snapshot())

    def snapshot(self) -> Path:
        """The folder as a kill at this moment would leave it."""
        copy = self.base / str(self.lives + 1)
        shutil.copytree(self.folder, copy, ignore=shutil.ignore_patterns("*-shm"))
        return copy

    def go_on_with(self, copy: Path) -> None:
        self.runner.run(self.stack.aclose())
        shutil.rmtree(self.folder)
        self.lives = int(copy.name)
        self.enter()

    def crash_in(self, step: str, work: Callable[[], Awaitable[object]]) -> bool:
        """Whether the work came to that step; if so, the next life begins with the folder as it was there."""
        copies: list[Path] = []

        def at(name: str) -> None:
            if name == step and not copies:
                copies.append(self.snapshot())

        failpoints.arm(f"{step}:sleep=0")
        try:
            with mock.patch.object(failpoints, "_pass", at), suppress(EntrepotError):
                self.do(work())
        finally:
            failpoints.arm("")
        if copies:
            self.go_on_with(copies[0])
        return bool(copies)

    @rule(key=KEYS, data=BODIES, step=STEPS, deleting=st.booleans())
    def crash_in_a_change(self, key: str, data: bytes, step: str, deleting: bool) -> None:
        old, new = self.names.get(key), None if deleting else data
        came = self.crash_in(step, lambda: self.inside.delete(key) if deleting else self.inside.put(key, data))
        size = self.do(self.inside.rows(f"SELECT digest FROM object WHERE name = '{key}'"))
        digest = size[0][0] if size else None  # type: ignore[index]
        now = next((one for one in (old, new) if one is not None and hashlib.sha256(one).hexdigest() == digest), None)
        assert (digest is None) == (now is None)
        assert now in (old, new)
        if not came or step == "name.deleted":
            assert now == new
        if step.partition(".")[0] in ("blob", "upload") and came and step != "blob.loser_unlinking":
            assert now == old
        self.names = {name: kept for name, kept in self.names.items() if name != key}
        if now is not None:
            self.names[key] = now
        if now is not None and now == new:
            self.note_repair(data)
        self.get(key)

    @rule(step=STEPS)
    def crash_in_the_collector(self, step: str) -> None:
        async def work() -> None:
            await self.inside.job("expire")
            await self.inside.job("collect")

        self.crash_in(step, work)

    @precondition(lambda self: self.parts >= {0, 1})
    @rule(step=STEPS)
    def crash_in_a_commit(self, step: str) -> None:
        digest = Digest(hashlib.sha256(UPLOADED).hexdigest())
        self.crash_in(step, lambda: self.inside.uploads.commit(self.upload, len(UPLOADED), digest))
        rows = self.do(self.inside.rows(f"SELECT state FROM upload WHERE id = '{self.upload}'"))
        state = rows[0][0] if rows else "lost"  # type: ignore[index]
        if state == "done":
            assert self.parts == {0, 1, 2}
            self.names["uploaded"] = UPLOADED
            self.note_repair(UPLOADED)
        if state != "open":  # lost: its file had its new name, and no row
            self.upload, self.parts = "", set()

    @invariant()
    def nothing_is_left_over(self) -> None:
        if not hasattr(self, "inside"):
            return
        sizes = sum(map(len, self.names.values()))
        reserved = len(UPLOADED) if self.upload else 0
        assert self.do(self.inside.rows("SELECT objects, used, reserved FROM project")) == [
            (len(self.names), sizes, reserved)
        ]
        assert os.listdir(self.folder / "staging") == ([self.upload] if self.upload else [])


@pytest.mark.parametrize(
    ("examples", "steps"), [(30, 30), pytest.param(1000, 50, marks=[pytest.mark.slow])], ids=["short", "long"]
)
def test_the_store_does_what_a_dict_does(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Store,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, database=None,
            suppress_health_check=list(HealthCheck), phases=set(Phase) - ({Phase.shrink} if examples < 100 else set()),
        ),
    )  # fmt: skip
