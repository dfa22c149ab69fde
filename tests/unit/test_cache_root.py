"""Which folder is the cache, who may use it, and how its locks exclude."""

import errno
import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from entrepot.cache import choose, leases, root
from entrepot.cache.hit import hit
from entrepot.cache.layout import blob_path, lock_name, part_path, rules_path, use_path
from entrepot.cache.leases import LeaseLock
from entrepot.cache.locks import take, try_take
from entrepot.cache.source import Reply
from entrepot.cache.store import Cache
from entrepot.errors import Refused, Unsupported, UsageError

DATA = os.urandom(100_000)
HEX = hashlib.sha256(DATA).hexdigest()


class Bytes:
    """A source in memory."""

    @contextmanager
    def open(self, offset: int) -> Iterator[Reply]:
        yield Reply(len(DATA), offset, iter([DATA[offset:]]))


@pytest.fixture
def narrow_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def test_a_new_root_is_private_and_says_its_format(tmp_path: Path) -> None:
    cache = Cache.open(str(tmp_path / "a" / "root"))
    assert os.stat(cache.path).st_mode & 0o7777 == 0o700
    assert Path(rules_path(cache.path)).read_text() == "format 1\nmode private\nlocks flock\n"


def test_a_newer_format_is_refused_and_never_hit(tmp_path: Path) -> None:
    cache = Cache.open(str(tmp_path / "root"))
    cache.get(HEX, Bytes())
    Path(rules_path(cache.path)).write_text("format 2\nmode private\nlocks flock\n")
    assert hit(cache.path, HEX) is None
    with pytest.raises(Refused, match="format 2"):
        Cache.open(cache.path)


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_private_root_that_others_may_enter_is_refused(tmp_path: Path, mode: int) -> None:
    cache = Cache.open(str(tmp_path / "root"))
    os.chmod(cache.path, mode)
    assert hit(cache.path, HEX) is None
    with pytest.raises(Refused, match="others may enter"):
        Cache.open(cache.path)


def test_a_link_is_no_root(tmp_path: Path) -> None:
    cache = Cache.open(str(tmp_path / "root"))
    (tmp_path / "link").symlink_to(cache.path)
    with pytest.raises(Refused, match="link"):
        Cache.open(str(tmp_path / "link"))
    (tmp_path / "nothing").symlink_to(tmp_path / "empty")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match="link"):
        Cache.open(str(tmp_path / "nothing") + "/")


def test_a_folder_with_other_files_is_no_root(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(Refused, match="other files") as caught:
        Cache.open(str(tmp_path))
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_root_of_another_user_is_refused(tmp_path: Path) -> None:
    cache = Cache.open(str(tmp_path / "root"))
    os.chown(cache.path, 12345, 12345)
    with pytest.raises(Refused, match="another user"):
        Cache.open(cache.path)


def test_a_group_root_gives_members_what_they_need_whatever_the_umask(tmp_path: Path, narrow_umask: None) -> None:
    folder = tmp_path / "root"
    folder.mkdir()
    folder.chmod(0o2775)
    cache = Cache.open(str(folder))
    blob = cache.get(HEX, Bytes())
    cache.pin(HEX)
    assert hit(cache.path, HEX) == blob
    assert os.stat(blob).st_mode & 0o7777 == 0o444
    modes = {path: path.stat().st_mode & 0o7777 for path in folder.rglob("*") if str(path) != blob}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o2775}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o664}


def test_a_group_root_everybody_may_write_is_refused(tmp_path: Path) -> None:
    cache = Cache.open(str(tmp_path / "root"), mode="group")
    os.chmod(cache.path, 0o2777)
    with pytest.raises(Refused, match="everybody"):
        Cache.open(cache.path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_in_a_group_root_a_member_is_trusted_and_a_stranger_is_not(tmp_path: Path) -> None:
    cache = Cache.open(str(tmp_path / "root"), mode="group")
    blob = cache.get(HEX, Bytes())
    os.chown(blob, 12345, os.stat(cache.path).st_gid)
    assert cache.get(HEX, None) == blob
    assert os.stat(blob).st_uid == 12345
    os.chown(blob, 12345, 54321)
    cache.get(HEX, Bytes())
    assert os.stat(blob).st_uid == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_part_of_another_member_is_continued_as_a_file_of_our_own(tmp_path: Path) -> None:
    cache = Cache.open(str(tmp_path / "root"), mode="group")
    part = part_path(cache.path, HEX, len(DATA))
    Path(part).write_bytes(DATA[:5000])
    os.chmod(part, 0o664)
    os.chown(part, 12345, os.stat(cache.path).st_gid)
    blob = cache.get(HEX, Bytes())
    assert Path(blob).read_bytes() == DATA
    assert os.stat(blob).st_uid == 0
    assert os.listdir(f"{cache.path}/parts") == []


def test_the_environment_names_root_and_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENTREPOT_CACHE", f"{tmp_path}/told/")
    monkeypatch.setenv("ENTREPOT_CACHE_MAX_BYTES", "1000")
    cache = Cache.open()
    assert cache.path == f"{tmp_path}/told"
    assert cache.root.limits.max_bytes == 1000
    monkeypatch.setenv("ENTREPOT_CACHE_MIN_FREE_BYTES", "2G")
    with pytest.raises(UsageError, match="MIN_FREE"):
        Cache.open()
    monkeypatch.setenv("ENTREPOT_CACHE", "unix:/run/entrepot/cache.sock")
    with pytest.raises(Unsupported):
        Cache.open()


def test_a_private_root_is_in_the_home_unless_that_is_on_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ENTREPOT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(choose, "SYSTEM_ROOT", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", "/scratch")
    assert choose.choose_root() == f"{tmp_path}/.cache/entrepot"
    monkeypatch.setattr(choose, "mount_of", lambda _: (b"nfs4", b"rw"))
    assert choose.choose_root() == f"/scratch/entrepot-{os.geteuid()}"
    monkeypatch.setenv("HOME", str(tmp_path / "gone"))
    assert choose.choose_root() == f"/scratch/entrepot-{os.geteuid()}"


def test_the_machine_root_is_taken_only_if_it_is_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENTREPOT_CACHE", raising=False)
    shared = tmp_path / "var"
    shared.mkdir()
    monkeypatch.setattr(choose, "SYSTEM_ROOT", str(shared))
    shared.chmod(0o2775)
    assert choose.choose_root() == str(shared)
    shared.chmod(0o777)
    assert choose.choose_root() != str(shared)


def test_the_longest_mount_point_tells_the_file_system(tmp_path: Path) -> None:
    table = tmp_path / "mounts"
    table.write_text(
        f"d / ext4 rw 0 0\ns {tmp_path} nfs4 rw,local_lock=all 0 0\ns {tmp_path}/a\\040b lustre rw,flock 0 0\n"
    )
    (tmp_path / "a b").mkdir()
    on_nfs = choose.mount_of(str(tmp_path), str(table))
    assert on_nfs == (b"nfs4", b"rw,local_lock=all")
    assert choose.has_local_locks_only(on_nfs)
    on_lustre = choose.mount_of(f"{tmp_path}/a b", str(table))
    assert choose.is_network(on_lustre)
    assert not choose.has_local_locks_only(on_lustre)
    assert not choose.is_network(choose.mount_of("/", str(table)))


@pytest.fixture
def lease_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> root.Root:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", refuse)
        return root.open_root(str(tmp_path / "root"))


def test_where_flock_is_missing_a_lease_file_excludes(lease_root: root.Root) -> None:
    assert "locks lease" in Path(rules_path(lease_root.path)).read_text()
    first = try_take(lease_root, lock_name(HEX))
    assert first is not None
    assert try_take(lease_root, lock_name(HEX)) is None
    later = threading.Timer(0.2, first.release)
    later.start()
    second, waited = take(lease_root, lock_name(HEX))
    later.join()
    with second:
        assert waited
        assert second.is_held()
    assert not first.is_held()


def test_where_flock_is_missing_gets_work_all_the_same(lease_root: root.Root) -> None:
    cache = Cache(lease_root)
    assert Path(cache.get(HEX, Bytes())).read_bytes() == DATA
    assert cache.get(HEX, None) == blob_path(cache.path, HEX)
    assert hit(cache.path, HEX) is None
    assert [name for name in os.listdir(f"{cache.path}/locks") if "lease" in name] == []


def test_a_lease_is_touched_and_a_stale_one_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "TOUCH_SECONDS", 0.02)
    path = str(tmp_path / "x.lease")
    lease = LeaseLock.attempt(path, 0o600)
    assert lease is not None
    with lease:
        os.utime(path, (1, 1))
        deadline = time.monotonic() + 5
        while os.stat(path).st_mtime < 1e9 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert os.stat(path).st_mtime > 1e9
    assert not os.path.exists(path)

    Path(path).touch()  # of a process that was killed
    assert LeaseLock.attempt(path, 0o600) is None
    os.utime(path, (time.time() - 61, time.time() - 61))
    taken = LeaseLock.attempt(path, 0o600)
    assert taken is not None
    taken.release()
    assert os.listdir(tmp_path) == []


def test_who_lost_a_lease_knows_and_removes_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "x.lease")
    lost = LeaseLock.attempt(path, 0o600)
    assert lost is not None
    os.utime(path, (1, 1))
    taken = LeaseLock.attempt(path, 0o600)
    assert taken is not None
    assert not lost.is_held()
    lost.release()
    assert taken.is_held()
    taken.release()


def test_a_use_that_cannot_be_touched_is_no_hit(tmp_path: Path) -> None:
    cache = Cache.open(str(tmp_path / "root"))
    cache.get(HEX, Bytes())
    os.unlink(use_path(cache.path, HEX))
    assert hit(cache.path, HEX) is None
    assert cache.get(HEX, None) == hit(cache.path, HEX)
