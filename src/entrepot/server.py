"""The composition root: builds every part, dispatches requests to protocols. The only module that knows all of them."""

import re
import sys
import time
from functools import partial
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from entrepot import logs
from entrepot.auth.oidc import OidcConfig
from entrepot.catalog import audit, leases
from entrepot.catalog.database import Catalog, Transaction
from entrepot.errors import Busy
from entrepot.gate import Gate
from entrepot.jobs.collect import Collector
from entrepot.jobs.epoch import FACT, Epoch
from entrepot.jobs.expire import Expiry, sweep_staging
from entrepot.jobs.lifecycle import Lifecycle
from entrepot.jobs.runner import Job, Runner, patient_clock
from entrepot.model import Opened
from entrepot.protocols.api import Api
from entrepot.protocols.api.administration import Administration
from entrepot.protocols.api.registry import Registry
from entrepot.protocols.base import Endpoint, Request, Response, check_calls
from entrepot.protocols.data import Data
from entrepot.protocols.data import requests as data_requests
from entrepot.protocols.delivery import Send, respond
from entrepot.protocols.oci import Oci
from entrepot.protocols.ops import Ops, State
from entrepot.protocols.proxies import networks, origin
from entrepot.protocols.registry import Registry as SingularityRegistry
from entrepot.protocols.registry import requests as registry_requests
from entrepot.protocols.s3 import S3
from entrepot.services.accounts import Accounts
from entrepot.services.areas import Areas
from entrepot.services.artifacts import Artifacts
from entrepot.services.buckets import Buckets
from entrepot.services.contents import Contents
from entrepot.services.federation import Fetch, Provider, Userinfo
from entrepot.services.file_links import FileLinks
from entrepot.services.identity import Identity
from entrepot.services.joining import Joining
from entrepot.services.keeping import Keeping
from entrepot.services.links import Links
from entrepot.services.manifests import Manifests
from entrepot.services.multipart import Multipart
from entrepot.services.names import Names
from entrepot.services.objects import Objects
from entrepot.services.placing import Placing
from entrepot.services.projects import Projects
from entrepot.services.registry_tokens import RegistryTokens
from entrepot.services.repositories import Repositories
from entrepot.services.sessions import Sessions
from entrepot.services.shown import Shown
from entrepot.services.staging import StagingAreas
from entrepot.services.static_trees import StaticTrees
from entrepot.services.streaming import Streams
from entrepot.services.uploads import Uploads
from entrepot.services.views import Views
from entrepot.settings import Settings
from entrepot.storage.blobs import DAY, BlobStore

HSTS: Final = (b"strict-transport-security", b"max-age=31536000")
LIFECYCLE_SECONDS: Final = 3600.0
STAGING_SECONDS: Final = 3600.0
_OPS: Final = re.compile(rb"/(?:(?:livez|readyz|metrics|version|api|ui)(?:/|\Z))")
_OCI: Final = re.compile(rb"/v2(?:/|\Z)")
_BUCKET: Final = re.compile(rb"/[^/?]{3,}")


class Meters:
    """What `/metrics` shows. A registry of its own, so that two servers in one process do not meet."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.running = Gauge("entrepot_requests_running", "Requests under way", registry=self.registry)
        self._requests = Counter(
            "entrepot_requests_total", "Answered requests", ["protocol", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "entrepot_request_seconds", "Time to the last byte", ["protocol"], registry=self.registry
        )
        self._sent = Counter("entrepot_sent_bytes_total", "Bytes of body sent", ["protocol"], registry=self.registry)
        self._known: dict[tuple[str, int], tuple[Counter, Histogram, Counter]] = {}

    def count(self, protocol: str, status: int, sent: int, seconds: float) -> None:
        """One answered request."""
        known = self._known.get((protocol, status))
        if known is None:
            requests = self._requests.labels(protocol, str(status))
            known = requests, self._seconds.labels(protocol), self._sent.labels(protocol)
            self._known[protocol, status] = known
        known[0].inc()
        known[1].observe(seconds)
        known[2].inc(sent)


class Server:
    """Every part, wired; and the ASGI application over them."""

    def __init__(self, settings: Settings, master: bytes, catalog: Catalog, blobs: BlobStore, fetch: Fetch) -> None:
        now = time.time
        self.settings, self.catalog, self.blobs = settings, catalog, blobs
        self.meters = Meters()
        self.downloading = Gate(settings.max_downloads, "downloads")
        self.proxies = networks(settings.trusted_proxy)
        names = "|".join(map(re.escape, settings.s3_hosts))
        self._s3_hosts = re.compile(rf"(?:[^:/]+\.)?(?:{names})(?::\d+)?\Z", re.IGNORECASE) if names else None
        self._is_https = settings.public_url.startswith("https:")
        self.draining = False
        self.epoch = Epoch(catalog, settings.data)
        self.identity = Identity(
            catalog, master, now, job_token_secret=settings.prominence_job_token_secret or None,
            oidc=_provider(settings, fetch),
        )  # fmt: skip
        keeping, shown = Keeping(blobs, catalog, now), Shown(blobs, now)
        objects = Objects(blobs, catalog, now, Names(catalog, now, shown), keeping)
        areas = StagingAreas(blobs, catalog)
        uploads = Uploads(objects, blobs, catalog, now, areas)
        placing = Placing(blobs, catalog, now, areas)
        multipart = Multipart(objects, catalog, now, areas, placing)
        joining = Joining(objects, blobs, catalog, now, areas, placing)
        links = Links(self.identity, catalog, now, shown, settings.prominence_signature)
        project_service = Projects(catalog, now)
        administration = Administration(Accounts(catalog, self.identity, now), project_service)
        url = settings.public_url.rstrip("/")
        self.data = Data(self.identity, Areas(catalog, now, shown), objects, links, url)
        self.s3 = S3(
            self.identity, objects, multipart, joining, Buckets(catalog, now), project_service, now, settings.s3_hosts
        )
        artifacts = Artifacts(objects, Contents(blobs, catalog), catalog, now)
        repositories = Repositories(catalog, keeping, artifacts, now)
        manifests = Manifests(repositories, keeping, blobs, catalog, now)
        self.api = Api(
            self.identity, objects, artifacts.contents, uploads, project_service, links, Registry(manifests),
            administration, now, url,
        )  # fmt: skip
        self.ops = Ops(self.identity, self.meters.registry, self.state)
        tokens = RegistryTokens(self.identity, now)
        sessions = Sessions(keeping, blobs, catalog, now, Streams(blobs, catalog, now, areas))
        self.oci = Oci(self.identity, tokens, repositories, manifests, sessions)
        views = Views(repositories, artifacts.contents, settings.registry_path_template)
        self.registry = SingularityRegistry(
            self.identity, tokens, views, objects, FileLinks(self.identity, objects, now), sessions,
            StaticTrees(repositories, views), settings.keyserver_url, url,
        )  # fmt: skip
        for endpoint in (self.data, self.s3, self.api, self.oci, self.registry, self.ops):
            check_calls(endpoint)
        self.runner = self._runner(areas)

    def _runner(self, areas: StagingAreas) -> Runner:
        """What is done by itself."""
        settings, catalog, blobs = self.settings, self.catalog, self.blobs
        patient = patient_clock()
        collector = Collector(catalog, blobs, patient, settings.remove_grace_seconds, self._held)
        expiry = Expiry(catalog, areas, patient, settings.trash_days * DAY, blobs.is_full)
        return Runner(
            catalog,
            patient,
            [
                Job("expire", settings.collect_seconds, expiry.expire),
                Job("collect", settings.collect_seconds, collector.collect),
                Job("lifecycle", LIFECYCLE_SECONDS, Lifecycle(catalog, areas, patient).carry_out),
                Job("sweep staging", STAGING_SECONDS, partial(sweep_staging, catalog, blobs)),
                Job("sweep dark files", DAY, collector.sweep_dark),
                Job("raise epoch", DAY, self.epoch.advance),
            ],
        )

    async def _held(self) -> bool:
        return self.epoch.restored

    async def state(self) -> State:
        """Whether traffic may come, and what an operator should know."""
        if self.draining:
            return State(ready=False, text="draining")
        await self.catalog.probe(lambda tx: leases.fact(tx, FACT))
        if self.epoch.restored:
            return State(ready=True, text="degraded: the catalog is older than the stored bytes; nothing is collected")
        return State(ready=True, text="degraded: the disk is full" if self.blobs.is_full() else "ok")

    def endpoint_of(self, request: Request) -> Endpoint[Any]:
        """The protocol a request is for, by its raw path and the proof it carries."""
        path, query = request.raw_path, request.raw_query
        if self._s3_hosts and self._s3_hosts.match(request.host):
            return self.s3
        if registry_requests.PATH.match(path):
            return self.registry
        if path.startswith(b"/api/v1/"):
            return self.api
        if _OPS.match(path):
            return self.ops
        if _OCI.match(path):
            return self.oci
        if b"X-Amz-Algorithm=" in query or b"Signature=" in query or _has_s3_header(request):
            return self.s3
        if data_requests.PATH.match(path) or data_requests.PREFIX.match(path):
            return self.data
        return self.s3 if _BUCKET.match(path) else self.ops

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI, http only."""
        if scope["type"] != "http":
            return
        client = scope["client"][0] if scope["client"] else ""
        address, scheme = origin(client, scope["scheme"], scope["headers"], self.proxies)
        request = Request(
            scope["method"], scope["raw_path"], scope["query_string"], scope["headers"],
            scope["extensions"]["entrepot"], scheme=scheme, address=address,
        )  # fmt: skip
        began, at = time.perf_counter(), time.time()
        endpoint = self.endpoint_of(request)
        self.meters.running.inc()
        try:
            response = await endpoint.handle(request)
            if self._is_https:
                response.headers.append(HSTS)
            if isinstance(response.body, Opened):
                response, sent = await self._download(endpoint, response, request, send)
            else:
                sent = await respond(response, request, send)
        finally:
            self.meters.running.dec()
        self._tell(request, endpoint.name, response, sent, time.perf_counter() - began, at)
        if response.status == 403 and request.principal.id:
            await self.catalog.write(lambda tx: _audit_refusal(tx, request, at))

    async def _download(
        self, endpoint: Endpoint[Any], response: Response, request: Request, send: Send
    ) -> tuple[Response, int]:
        """Send stored bytes, when there is a place for it. The answer that was sent, and its bytes."""
        try:
            async with self.downloading:
                return response, await respond(response, request, send)
        except Busy as error:
            assert isinstance(response.body, Opened)
            response.body.close()
            refusal = endpoint.refuse(error, request)
            return refusal, await respond(refusal, request, send)

    def _tell(self, request: Request, protocol: str, response: Response, sent: int, seconds: float, at: float) -> None:
        self.meters.count(protocol, response.status, sent, seconds)
        sys.stderr.buffer.write(logs.access_line(request, protocol, response.status, sent, seconds, at))


def _audit_refusal(tx: Transaction, request: Request, at: float) -> None:
    path = request.raw_path[:1024].decode("latin-1")
    audit.record(tx, request.principal, request.method, at, name=path, outcome="denied")


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
