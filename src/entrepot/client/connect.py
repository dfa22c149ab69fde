"""httpx2 clients as we use them: the system's trust store, idle deadlines, proxies from the environment."""

import ssl
from dataclasses import dataclass
from typing import Any, Final

import httpx2
import truststore

from entrepot import __version__
from entrepot.client.target import CONNECT_SECONDS, IDLE_SECONDS
from entrepot.errors import UsageError

_CONNECTIONS: Final = 64


@dataclass(frozen=True, slots=True)
class Trust:
    """Which servers are believed. `cafile`: certificates in place of the system's; `insecure`: any."""

    cafile: str | None = None
    insecure: bool = False


def client_arguments(trust: Trust) -> dict[str, Any]:
    """What `httpx2.Client` and `AsyncClient` are made of. Raises: UsageError, for a bad file of certificates."""
    return {
        "verify": tls_context(trust),
        "timeout": httpx2.Timeout(IDLE_SECONDS, connect=CONNECT_SECONDS, pool=None),
        "limits": httpx2.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS),
        "headers": {"User-Agent": f"entrepot/{__version__}"},
    }


def tls_context(trust: Trust) -> ssl.SSLContext:
    """The TLS side of it. Raises: UsageError."""
    if trust.cafile is not None:
        try:
            context: ssl.SSLContext = ssl.create_default_context(cafile=trust.cafile)
        except OSError as error:
            raise UsageError("the file of trusted certificates cannot be read", why=error.strerror or "") from error
    else:
        context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if trust.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
