"""The life of a server process: open the parts, recover, listen, drain, close."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import httpx2
import msgspec

from entrepot import datafolder, logs
from entrepot.catalog import accounts, projects
from entrepot.catalog.database import Catalog, Transaction
from entrepot.catalog.sqlite import SqliteCatalog
from entrepot.catalog.upgrade import upgrade
from entrepot.errors import EntrepotError, Unavailable
from entrepot.failpoints import failpoint
from entrepot.front.entrance import entrance
from entrepot.jobs.expire import recover_staging
from entrepot.listening import Listener
from entrepot.model import MAX_QUOTA
from entrepot.principals import Kind, Role
from entrepot.process import spare_collector, tune
from entrepot.protocols.proxies import is_trusted
from entrepot.server import Server
from entrepot.services.federation import Fetch
from entrepot.services.identity import DEFAULT_PROJECT, Minted
from entrepot.services.places import AREAS_BUCKET
from entrepot.settings import Settings, master_key
from entrepot.storage.blobs import DAY, BlobStore, Limits
from entrepot.storage.local import LocalDriver

ADMIN: Final = "admin"
ADMIN_TOKEN_SECONDS: Final = 30 * DAY


async def fetch_json(url: str, token: str | None) -> dict[str, Any]:
    """A JSON object from a provider the operator named: one try, 5 s in all, 1 MiB at most. Raises: Unavailable."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with asyncio.timeout(5), httpx2.AsyncClient(follow_redirects=False, trust_env=False) as client:
            answer = await client.get(url, headers=headers)
        if answer.status_code != 200 or len(answer.content) > 1 << 20:
            raise Unavailable("the provider refused")
        return msgspec.json.decode(answer.content, type=dict[str, Any])
    except (httpx2.HTTPError, TimeoutError, msgspec.DecodeError) as error:
        raise Unavailable("the provider does not answer") from error


@contextlib.asynccontextmanager
async def opened(settings: Settings, master: bytes, fetch: Fetch = fetch_json) -> AsyncIterator[Server]:
    """A server with its parts open and recovered, ready for requests; everything is closed behind it."""
    catalog = await asyncio.to_thread(open_catalog, settings)
    limits = Limits(
        settings.inline_bytes,
        settings.max_uploads,
        settings.reserve_bytes,
        verify_reads_seconds=settings.verify_reads_days * DAY,
    )
    blobs = BlobStore(LocalDriver(settings.data), time.time, limits)
    try:
        server = Server(settings, master, catalog, blobs, fetch)
        await server.epoch.recognise()
        await server.epoch.advance()
        if not server.epoch.restored:  # a catalog from the past does not know of younger uploads
            await recover_staging(catalog, blobs)
        await catalog.write(first_rows)
        yield server
    finally:
        await catalog.close()
        blobs.close()


def open_catalog(settings: Settings) -> Catalog:
    """The catalog, at this version's schema."""
    if settings.db:
        from entrepot.catalog.postgres import PostgresCatalog

        upgrade(settings.db)
        return PostgresCatalog(settings.db)
    path = os.path.join(settings.data, "catalog.db")
    upgrade(f"sqlite:///{path}")
    return SqliteCatalog(path)


def first_rows(tx: Transaction) -> None:
    """The default project with the bucket of areas; reservations of uploads that are no more are freed."""
    home = projects.find(tx, DEFAULT_PROJECT) or projects.add(tx, DEFAULT_PROJECT, MAX_QUOTA, time.time())
    projects.add_bucket(tx, home, AREAS_BUCKET, time.time(), areas=True)
    projects.count_reserved_anew(tx)


async def first_admin(server: Server) -> Minted | None:
    """A token for the first admin, if this is the first start; or for the one there is, if the operator asks for it."""

    def add(tx: Transaction) -> accounts.Account | None:
        admins = [account for account in accounts.all_of(tx, Kind.USER) if account.admin and not account.disabled]
        if admins:
            return admins[0] if server.settings.new_admin_token else None
        known = accounts.find(tx, ADMIN)
        if known is not None:
            return None
        made = accounts.add(tx, Kind.USER, ADMIN, time.time(), admin=True)
        accounts.set_role(tx, made.id, projects.known(tx, DEFAULT_PROJECT).id, Role.OWNER)
        return made

    account = await server.catalog.write(add)
    return await server.identity.mint(account, (), None, ADMIN_TOKEN_SECONDS) if account else None


Told = Callable[[str, "Minted | None"], None]
"""Told the URL once it answers, and the first admin token if there is one."""


async def serve(settings: Settings, master: bytes, tell: Told) -> None:
    """Serve until SIGTERM or SIGINT; then finish what is under way. A second signal ends at once."""
    async with opened(settings, master) as server:
        minted = await first_admin(server)
        protocol = entrance(
            settings.max_connections,
            settings.max_connections_per_address,
            lambda address: is_trusted(address, server.proxies),
        )
        listener = Listener(server, settings, protocol)
        await listener.start()
        jobs = asyncio.create_task(server.runner.run())
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, _stop_or_exit, stop)
        signal.signal(signal.SIGHUP, lambda *_: listener.reload_certificate())
        spare_collector()
        tell(listener.url, minted)
        await stop.wait()
        server.draining = True
        failpoint("drain.started")
        jobs.cancel()
        await listener.drain(settings.drain_seconds)
        with contextlib.suppress(asyncio.CancelledError, EntrepotError):
            await jobs


def _stop_or_exit(stop: asyncio.Event) -> None:
    if stop.is_set():
        os._exit(1)
    stop.set()


def run(settings: Settings, environ: dict[str, str], tell: Told) -> None:
    """Prepare the process and the data folder, and serve. Raises: UsageError."""
    logs.set_up()
    datafolder.prepare(settings.data, force_network_disk=settings.force_network_disk)
    held = datafolder.lock(settings.data)
    try:
        master = master_key(settings.data, environ)
        with asyncio.Runner(loop_factory=tune()) as runner:
            runner.run(serve(settings, master, tell))
    finally:
        os.close(held)
