"""X-Forwarded headers count from a trusted proxy only, from right to left."""

import pytest

from entrepot.protocols.proxies import networks, origin

TRUSTED = networks(["127.0.0.0/8", "::1"])


@pytest.mark.parametrize(
    ("address", "forwarded", "proto", "expected"),
    [
        ("127.0.0.1", "8.8.8.8", "https", ("8.8.8.8", "https")),
        ("9.9.9.9", "8.8.8.8", "https", ("9.9.9.9", "http")),  # a stranger says what it likes
        ("127.0.0.1", "1.1.1.1, 8.8.8.8", "https", ("8.8.8.8", "https")),  # the left part is the client's own word
        ("127.0.0.1", "8.8.8.8, 127.0.0.2", "https", ("8.8.8.8", "https")),
        ("::1", "2001:db8::1", "http", ("2001:db8::1", "http")),
        ("127.0.0.1", "", "", ("127.0.0.1", "http")),
        ("127.0.0.1", "nonsense", "gopher", ("nonsense", "http")),
    ],
)
def test_the_client_is_the_first_hop_that_is_not_trusted(
    address: str, forwarded: str, proto: str, expected: tuple[str, str]
) -> None:
    headers = [(b"x-forwarded-for", forwarded.encode()), (b"x-forwarded-proto", proto.encode())]
    assert origin(address, "http", headers, TRUSTED) == expected


def test_without_trusted_networks_the_headers_are_nothing() -> None:
    headers = [(b"x-forwarded-for", b"8.8.8.8"), (b"x-forwarded-proto", b"https")]
    assert origin("127.0.0.1", "http", headers, []) == ("127.0.0.1", "http")
