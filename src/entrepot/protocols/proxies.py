"""Who is calling when a proxy stands in front: X-Forwarded headers count only from one we were told to trust."""

import ipaddress
from collections.abc import Sequence
from typing import TypeAlias

from entrepot.protocols.base import Header

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(texts: Sequence[str]) -> list[Network]:
    """The trusted networks, `10.0.0.0/8` or single addresses. Raises: ValueError."""
    return [ipaddress.ip_network(text) for text in texts]


def origin(address: str, scheme: str, headers: Sequence[Header], trusted: Sequence[Network]) -> tuple[str, str]:
    """Address and scheme of the client: read from right to left, up to the first hop that is not trusted."""
    if not trusted or not is_trusted(address, trusted):
        return address, scheme
    hops = [hop.strip() for hop in _joined(headers, b"x-forwarded-for").split(",") if hop.strip()]
    while hops and is_trusted(address, trusted):
        address = hops.pop()
    proto = _joined(headers, b"x-forwarded-proto").rpartition(",")[2].strip().lower()
    return address, proto if proto in ("http", "https") else scheme


def _joined(headers: Sequence[Header], name: bytes) -> str:
    return ",".join(value.decode("latin-1") for key, value in headers if key == name)


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    """Whether that address lies in one of the networks."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in trusted)
