"""Sessions whose first bytes are few, and so lie in their row, until more come: nobody can tell where the bytes lie."""

import os

import pytest

from tests.registry import Client, digest_of, with_digest

PIECES = [
    (40_000, 40_000), (100, 70_000), (65_536, 1), (65_535, 2), (65_000, 100_000), (1, 65_536), (40_000, 100, 40_000),
    (20_000, 40_000, 20_000, 20_000), (70_000, 100, 100), (0, 10, 80_000),
]  # fmt: skip


@pytest.mark.parametrize("pieces", PIECES, ids=str)
@pytest.mark.parametrize("spans", [True, False])
@pytest.mark.parametrize("closed_with", ["the last piece", "nothing"])
def test_pieces_of_all_sizes_make_one_blob(
    client: Client, pieces: tuple[int, ...], closed_with: str, *, spans: bool
) -> None:
    data = os.urandom(sum(pieces))
    upload, offset = client.begin(), 0
    last = len(pieces) - 1 if closed_with == "the last piece" else len(pieces)
    for size in pieces[:last]:
        stop = offset + size
        client.append(upload, data[offset:stop], stop, f"{offset}-{stop - 1}" if spans and size else None)
        offset = stop
    more = {"Content_Range": f"{offset}-{len(data) - 1}"} if spans and offset < len(data) else {}
    client.end(upload, digest_of(data), data[offset:], **more)
    assert client.done("GET", f"blobs/{digest_of(data)}", 200).body == data


@pytest.mark.parametrize("held", [0, 1, 100, 40_000, 65_536, 70_000])
@pytest.mark.parametrize("sent", [10, 40_000, 100_000])
def test_a_piece_for_another_place_changes_nothing(client: Client, held: int, sent: int) -> None:
    data = os.urandom(held + sent)
    upload = client.begin()
    if held:
        client.append(upload, data[:held], held)
    for start in {max(0, held - 1), held + 1, 0} - {held}:
        for method, path in (("PATCH", upload), ("PUT", with_digest(upload, digest_of(data)))):
            span = {"Content-Range": f"{start}-{start + sent - 1}"}
            refused = client.refused(method, path, 416, "BLOB_UPLOAD_INVALID", data[held:], span)
            assert refused["upload-offset"] == str(held)
            assert refused["range"] == f"0-{max(0, held - 1)}"
        assert client.done("GET", upload, 204)["upload-offset"] == str(held)
    client.end(upload, digest_of(data), data[held:], Content_Range=f"{held}-{held + sent - 1}")
    assert client.done("GET", f"blobs/{digest_of(data)}", 200).body == data
