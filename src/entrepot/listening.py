"""The listening socket: uvicorn's machinery with our protocol class, our signals and our TLS."""

import asyncio
import logging
import os
import socket
import ssl
from typing import Any, Final

import uvicorn
from uvicorn.server import ServerState

from entrepot.certificate import self_signed
from entrepot.errors import UsageError
from entrepot.front.entrance import Entrance
from entrepot.settings import Settings

_log: Final = logging.getLogger("entrepot.listening")
HANDSHAKE_SECONDS: Final = 10.0


class Listener:
    """One address and port."""

    def __init__(self, app: Any, settings: Settings, protocol: type[Entrance]) -> None:
        self._settings = settings
        self._state = ServerState()
        self._config = uvicorn.Config(
            app, http=protocol, ws="none", lifespan="off", proxy_headers=False, access_log=False, server_header=False,
            date_header=True, timeout_keep_alive=75, log_config=None,
        )  # fmt: skip
        self._config.load()
        self._protocol = protocol
        self._tls = self._context()
        self._server: asyncio.Server | None = None
        self.url = ""

    def _files(self) -> tuple[str, str]:
        if self._settings.tls == "self":
            return self_signed(os.path.join(self._settings.data, "tls"), self._settings.host)
        return self._settings.tls_cert, self._settings.tls_key

    def _context(self) -> ssl.SSLContext | None:
        if not self._settings.secure:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(*self._files())
        except ssl.SSLError as error:
            raise UsageError("--tls-cert and --tls-key are no PEM certificate and its key", why=str(error)) from error
        return context

    def reload_certificate(self) -> None:
        """New connections get the certificate that is in the files now."""
        if self._tls:
            try:
                self._tls.load_cert_chain(*self._files())
            except (OSError, ssl.SSLError):
                _log.exception("the certificate cannot be read; the old one stays")

    async def start(self) -> None:
        """Listen; `url` is set from then on. Raises: UsageError for an address that is taken or not of this machine."""
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in self._settings.host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((self._settings.host, self._settings.port))
        except OSError as error:
            listening.close()
            raise UsageError(f"--listen {self._settings.listen} cannot be used", why=error.strerror or "") from error
        port = listening.getsockname()[1]

        self._server = await loop.create_server(
            lambda: self._protocol(self._config, self._state, {}),
            sock=listening,
            ssl=self._tls,
            backlog=2048,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if self._tls else None,
            ssl_shutdown_timeout=2.0 if self._tls else None,
        )
        host = f"[{self._settings.host}]" if family == socket.AF_INET6 else self._settings.host
        self.url = f"{'https' if self._tls else 'http'}://{host}:{port}"
        self._ticking = asyncio.create_task(self._tick())

    async def _tick(self) -> None:
        """The Date header, once a second, as uvicorn's own server does."""
        from email.utils import formatdate

        while True:
            self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
            await asyncio.sleep(1)

    async def drain(self, seconds: float) -> None:
        """No new connections; idle ones close; the rest may finish for so long, then they are cut."""
        assert self._server
        self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while (self._state.tasks or self._state.connections) and loop.time() < deadline:  # noqa: ASYNC110 no event tells
            await asyncio.sleep(0.02)  # answers may wait in buffers
        for connection in list(self._state.connections):
            connection.transport.abort()
        for task in list(self._state.tasks):
            task.cancel()
        if self._state.tasks:
            await asyncio.wait(set(self._state.tasks), timeout=5)
        self._ticking.cancel()
