"""SHA-256 that is saved and taken up again, and the checksums beside it."""

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.model import Algorithm
from entrepot.storage import hashing
from entrepot.storage.hashing import Checksums, Sha256, checksums_of, combined


@given(st.binary(max_size=2000), st.lists(st.integers(0, 2000), max_size=5))
def test_a_hash_saved_and_taken_up_at_any_cut_equals_hashlib(data: bytes, cuts: list[int]) -> None:
    running = Sha256()
    for start, stop in pairwise([0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]):
        running.update(data[start:stop])
        running = Sha256(running.state())
    assert running.hexdigest() == hashlib.sha256(data).hexdigest()


def test_asking_for_the_digest_does_not_end_the_hash() -> None:
    running = Sha256()
    running.update(b"one")
    assert running.hexdigest() == hashlib.sha256(b"one").hexdigest()
    running.update(b"two")
    assert running.hexdigest() == hashlib.sha256(b"onetwo").hexdigest()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: memoryview(bytearray(data))])
def test_every_kind_of_piece_is_hashed(kind: type[bytes]) -> None:
    running = Sha256()
    running.update(kind(b"piece"))
    assert running.hexdigest() == hashlib.sha256(b"piece").hexdigest()


@pytest.mark.parametrize("state", [b"", b"openssl-sha256/1 big 0\n" + bytes(112), b"x" * 140])
def test_a_state_of_another_library_is_refused(state: bytes) -> None:
    with pytest.raises(ValueError, match="another library"):
        Sha256(state)


def test_without_the_library_it_hashes_and_has_no_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_library", lambda: None)
    running = Sha256()
    running.update(b"plain")
    assert running.hexdigest() == hashlib.sha256(b"plain").hexdigest()
    assert running.state() is None


def test_this_machine_has_the_library() -> None:
    assert Sha256().state() is not None


def test_all_checksums_come_from_one_pass_and_sha256_always() -> None:
    running = Checksums({Algorithm.MD5, Algorithm.SHA512})
    for piece in (b"a", b"b" * 1000):
        running.update(piece)
    data = b"a" + b"b" * 1000
    assert running.result() == {
        Algorithm.SHA256: hashlib.sha256(data).hexdigest(),
        Algorithm.MD5: hashlib.md5(data).hexdigest(),
        Algorithm.SHA512: hashlib.sha512(data).hexdigest(),
    }
    assert running.result() == checksums_of(data, {Algorithm.MD5, Algorithm.SHA512})


CHECK = {Algorithm.CRC32: "cbf43926", Algorithm.CRC32C: "e3069283", Algorithm.CRC64NVME: "ae8b14860a799888"}
"""Of `123456789`, as the catalogue of CRCs gives them."""


@pytest.mark.parametrize("algorithm", CHECK)
def test_crcs_are_the_published_ones_in_any_pieces(algorithm: Algorithm) -> None:
    assert checksums_of(b"123456789", [algorithm])[algorithm] == CHECK[algorithm]
    running = Checksums({algorithm})
    for piece in (b"1234", bytearray(b"56"), memoryview(b"789")):
        running.update(piece)
    assert running.result()[algorithm] == CHECK[algorithm]


@given(st.sampled_from(list(CHECK)), st.lists(st.binary(max_size=100), max_size=6))
def test_crcs_of_parts_give_that_of_the_whole(algorithm: Algorithm, parts: list[bytes]) -> None:
    sums = [(checksums_of(part, [algorithm])[algorithm], len(part)) for part in parts]
    assert combined(algorithm, sums) == checksums_of(b"".join(parts), [algorithm])[algorithm]
