"""The composition root: builds every part, dispatches requests to protocols. The only module that knows all of them."""

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

import httpx2
import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from entrepot import datafolder, logs
from entrepot.auth.oidc import OidcConfig
from entrepot.catalog import accounts, leases, projects
from entrepot.catalog.database import Catalog, Transaction
from entrepot.catalog.sqlite import SqliteCatalog
from entrepot.catalog.upgrade import upgrade
from entrepot.errors import EntrepotError, Unavailable
from entrepot.failpoints import failpoint
from entrepot.front import entrance
from entrepot.jobs.collect import Collector
from entrepot.jobs.expire import Expiry, recover_staging
from entrepot.jobs.runner import Job, Runner
from entrepot.model import MAX_QUOTA, Kind, Role
from entrepot.protocols.api import Api
from entrepot.protocols.api.administration import Administration
from entrepot.protocols.base import Endpoint, Request, Response, check_calls
from entrepot.protocols.data import Data
from entrepot.protocols.data import requests as data_requests
from entrepot.protocols.delivery import respond
from entrepot.protocols.ops import Ops
from entrepot.protocols.s3 import S3
from entrepot.services.accounts import Accounts
from entrepot.services.areas import Areas
from entrepot.services.federation import Fetch, Provider, Userinfo
from entrepot.services.identity import DEFAULT_PROJECT, Identity, Minted
from entrepot.services.links import Links
from entrepot.services.objects import Objects
from entrepot.services.places import AREAS_BUCKET
from entrepot.services.projects import Projects
from entrepot.services.uploads import Uploads
from entrepot.settings import Settings
from entrepot.storage.blobs import DAY, BlobStore, Limits
from entrepot.storage.local import LocalDriver

ADMIN: Final = "admin"
ADMIN_TOKEN_SECONDS: Final = 30 * DAY
EPOCH: Final = "epoch"
_BUCKET: Final = re.compile(rb"/[^/?]{3,}")


@dataclass(frozen=True, slots=True)
class Meters:
    """What `/metrics` shows."""

    registry: CollectorRegistry
    requests: Counter
    seconds: Histogram
    sent: Counter
    running: Gauge

    @classmethod
    def new(cls) -> "Meters":
        """A registry of our own, so that two servers in one process do not meet."""
        registry = CollectorRegistry()
        return cls(
            registry,
            Counter("entrepot_requests_total", "Answered requests", ["protocol", "status"], registry=registry),
            Histogram("entrepot_request_seconds", "Time to the last byte", ["protocol"], registry=registry),
            Counter("entrepot_sent_bytes_total", "Bytes of body sent", ["protocol"], registry=registry),
            Gauge("entrepot_requests_running", "Requests under way", registry=registry),
        )


class Server:
    """Every part, wired; and the ASGI application over them."""

    def __init__(self, settings: Settings, master: bytes, catalog: Catalog, blobs: BlobStore, fetch: Fetch) -> None:
        now = time.time
        self.settings, self.catalog, self.blobs = settings, catalog, blobs
        self.meters = Meters.new()
        self.draining = False
        self.restored = False
        self.identity = Identity(
            catalog, master, now, job_token_secret=settings.prominence_job_token_secret or None,
            oidc=_provider(settings, fetch),
        )  # fmt: skip
        objects = Objects(blobs, catalog, now)
        uploads = Uploads(objects, blobs, catalog, now)
        links = Links(self.identity, catalog, now, settings.prominence_signature)
        project_service = Projects(catalog, now)
        administration = Administration(Accounts(catalog, self.identity, now), project_service)
        url = settings.public_url.rstrip("/")
        self.data = Data(self.identity, Areas(catalog, now), objects, links, url)
        self.s3 = S3(self.identity, objects, now)
        self.api = Api(self.identity, objects, uploads, project_service, links, administration, now, url)
        self.ops = Ops(self.identity, self.meters.registry, self.unready)
        for endpoint in (self.data, self.s3, self.api, self.ops):
            check_calls(endpoint)
        collector = Collector(catalog, blobs, now, settings.remove_grace_seconds, self._held)
        expiry = Expiry(catalog, uploads, now, settings.trash_days * DAY)
        self.runner = Runner(
            catalog,
            now,
            [
                Job("expire", settings.collect_seconds, expiry.expire),
                Job("collect", settings.collect_seconds, collector.collect),
                Job("sweep dark files", DAY, collector.sweep_dark),
            ],
        )

    async def _held(self) -> bool:
        return self.restored

    async def unready(self) -> str:
        """Why no traffic should come; empty if it may."""
        if self.draining:
            return "draining"
        await self.catalog.probe(lambda tx: leases.fact(tx, EPOCH))
        return ""

    def endpoint_of(self, request: Request) -> Endpoint[Any]:
        """The protocol a request is for, by its raw path and the proof it carries."""
        path, query = request.raw_path, request.raw_query
        if b"X-Amz-Algorithm=" in query or b"Signature=" in query or _has_s3_header(request):
            return self.s3
        if path.startswith(b"/api/v1/"):
            return self.api
        if data_requests.PATH.match(path) or data_requests.PREFIX.match(path):
            return self.data
        if path in (b"/", b"/livez", b"/readyz", b"/metrics", b"/version") or not _BUCKET.match(path):
            return self.ops
        return self.ops if path == b"/api" or path.startswith(b"/ui") else self.s3

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI, http only."""
        if scope["type"] != "http":
            return
        client = scope["client"]
        request = Request(
            scope["method"], scope["raw_path"], scope["query_string"], scope["headers"],
            scope["extensions"]["entrepot"], scheme=scope["scheme"], address=client[0] if client else "",
        )  # fmt: skip
        began, at = time.perf_counter(), time.time()
        endpoint = self.endpoint_of(request)
        with self.meters.running.track_inprogress():
            response = await endpoint.handle(request)
            sent = await respond(response, request, send)
        self._tell(request, endpoint.name, response, sent, time.perf_counter() - began, at)

    def _tell(self, request: Request, protocol: str, response: Response, sent: int, seconds: float, at: float) -> None:
        self.meters.requests.labels(protocol, str(response.status)).inc()
        self.meters.seconds.labels(protocol).observe(seconds)
        self.meters.sent.labels(protocol).inc(sent)
        sys.stderr.buffer.write(logs.access_line(request, protocol, response.status, sent, seconds, at))


def _has_s3_header(request: Request) -> bool:
    text = request.header(b"authorization")
    return text is not None and text.startswith(("AWS4-HMAC", "AWS "))


def _provider(settings: Settings, fetch: Fetch) -> Provider | Userinfo | None:
    wanted = tuple(frozenset(text.split("+")) for text in settings.prominence_entitlements)
    if settings.prominence_oidc_url:
        return Userinfo(
            OidcConfig(
                settings.prominence_oidc_url, username_claim=settings.prominence_username_claim, entitlements=wanted
            ),
            fetch,
        )
    if settings.oidc_issuer:
        return Provider(
            OidcConfig(
                settings.oidc_issuer, settings.oidc_audience or None, settings.oidc_username_claim,
                settings.oidc_groups_claim, wanted,
            ),
            fetch,
        )  # fmt: skip
    return None


async def fetch_json(url: str, token: str | None) -> dict[str, Any]:
    """A JSON object from a provider the operator named: one try, 5 s in all, 1 MiB at most. Raises: Unavailable."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with asyncio.timeout(5), httpx2.AsyncClient(follow_redirects=False) as client:
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
        settings.inline_bytes, settings.reserve_bytes, verify_reads_seconds=settings.verify_reads_days * DAY
    )
    blobs = BlobStore(LocalDriver(settings.data), time.time, limits)
    try:
        server = Server(settings, master, catalog, blobs, fetch)
        await recover_staging(catalog, blobs)
        await catalog.write(first_rows)
        server.restored = await raise_epoch(settings, catalog)
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


async def raise_epoch(settings: Settings, catalog: Catalog) -> bool:
    """Whether the catalog is older than the blobs: restored from the past. If not, both numbers grow, catalog first."""
    on_disk = datafolder.read_epoch(settings.data)
    known = int(await catalog.read(lambda tx: leases.fact(tx, EPOCH)) or 0)
    if known < on_disk:
        return True
    await catalog.write(lambda tx: leases.set_fact(tx, EPOCH, str(known + 1)))
    failpoint("epoch.raised")
    datafolder.write_epoch(settings.data, known + 1)
    return False


async def first_admin(server: Server) -> Minted | None:
    """A token for the first admin, if this is the first start."""

    def add(tx: Transaction) -> accounts.Account | None:
        if accounts.find(tx, ADMIN) or any(account.admin for account in accounts.all_of(tx, Kind.USER)):
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
    from entrepot.listening import Listener

    async with opened(settings, master) as server:
        minted = await first_admin(server)
        listener = Listener(server, settings, entrance(settings.max_connections, settings.max_connections_per_address))
        await listener.start()
        jobs = asyncio.create_task(server.runner.run())
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, _stop_or_exit, stop)
        signal.signal(signal.SIGHUP, lambda *_: listener.reload_certificate())
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
    from entrepot.process import tune
    from entrepot.settings import master_key

    logs.set_up()
    datafolder.prepare(settings.data, force_network_disk=settings.force_network_disk)
    held = datafolder.lock(settings.data)
    try:
        master = master_key(settings.data, environ)
        with asyncio.Runner(loop_factory=tune()) as runner:
            runner.run(serve(settings, master, tell))
    finally:
        os.close(held)
