"""The Singularity views: a call in, a service asked, a response out."""

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from entrepot.errors import BadRequest, EntrepotError, NoBlob, NoManifest, NotFound
from entrepot.formats.image_manifest import REVISION
from entrepot.formats.sif import UNKNOWN
from entrepot.model import Algorithm, Digest
from entrepot.principals import Principal
from entrepot.protocols.base import Endpoint, Request, Response
from entrepot.protocols.browser import SHIELD, shielded
from entrepot.protocols.credentials import principal_by, proof_of
from entrepot.protocols.delivery import Representation, deliver
from entrepot.protocols.registry import requests, responses
from entrepot.protocols.registry.calls import (
    AskRedirect,
    Call,
    CheckToken,
    GetFile,
    GetImageFile,
    ListCollections,
    ListTags,
    Search,
    ShowCollection,
    ShowContainer,
    ShowDefinition,
    ShowImage,
    ShowManifest,
    ShowNothing,
    ShowServices,
    ShowTree,
)
from entrepot.services.file_links import FileLinks
from entrepot.services.identity import Identity
from entrepot.services.objects import Objects
from entrepot.services.registry_tokens import RegistryTokens
from entrepot.services.sessions import Sessions
from entrepot.services.static_trees import StaticTrees, as_json
from entrepot.services.views import View, Views

PAGE_TAGS: Final = 100
PAGE_NAMES: Final = 1000
SHOWN_FILES: Final = 20
"""Of a tag on its collection's page."""
MOST_FOUND: Final = 100
MOST_LOOKED: Final = 200
"""Repositories a search looks into."""
SHORTEST_SEARCH: Final = 3
_BASE_URL: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]_-]+(?:/[A-Za-z0-9._~/-]*)?\Z")
OfLibrary = ShowContainer | ShowServices | CheckToken | ShowImage | GetImageFile | AskRedirect | Search | ShowNothing
OfPeople = ListCollections | ShowCollection | ListTags | ShowManifest | ShowDefinition | GetFile
FILE_TYPE: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Registry(Endpoint[Call]):
    """`/registry/…`, shub and library. `public_url` goes into URLs, else the address the client used."""

    name: ClassVar[str] = "registry"
    strangers_may_write: ClassVar[bool] = True
    calls: ClassVar[Any] = Call
    identity: Identity
    tokens: RegistryTokens
    views: Views
    objects: Objects
    links: FileLinks
    sessions: Sessions
    trees: StaticTrees
    keyserver_url: str
    public_url: str = ""

    def parse(self, request: Request) -> Call:
        """As `Endpoint.parse`."""
        call = requests.parse(request.method, request.raw_path)
        if isinstance(call, ShowCollection) and "static" in request.query:
            call = ShowTree(call.name)
        request.memo = call
        return call

    async def identify(self, call: Call, request: Request) -> Principal:
        """By a token, a name and a password, or a signed URL; else it is anonymous."""
        if isinstance(call, GetFile):
            host, path = self._base(request).partition("://")[2], request.raw_path.decode("latin-1")
            signer = await self.links.principal(request.query, host, path)
            if signer:
                return signer  # a token beside it is not looked at
        return await principal_by(proof_of(request), request, self.identity, self.tokens)

    def refuse(self, error: EntrepotError, request: Request) -> Response:
        """As `Endpoint.refuse`."""
        at_registry = request.memo if request.memo is not None else _guessed(request)
        return responses.refused(error, at_registry, for_people=_for_people(request))

    async def act(self, call: Call, principal: Principal, request: Request) -> Response:
        """As `Endpoint.act`."""
        match call:
            case ShowTree(name):
                return await self._tree(principal, name, request)
            case ListCollections() | ShowCollection() | ListTags() | ShowManifest() | ShowDefinition() | GetFile():
                return await self._page(call, principal, request)
            case _:
                return await self._library(call, principal, request)

    async def _library(self, call: OfLibrary, principal: Principal, request: Request) -> Response:
        match call:
            case ShowContainer(name, tag, id_):
                return await self._container(principal, name, tag, id_, request)
            case ShowServices():
                return responses.told(responses.services(self._base(request), self.keyserver_url))
            case CheckToken():
                if not principal.id:
                    raise NotFound("no valid token")
                return responses.told({"data": {}})
            case ShowImage(name, tag):
                view = await self._image(principal, name, tag, request)
                return responses.told({"data": responses.image(view, [tag])})
            case GetImageFile(name, tag):
                view = await self._image(principal, name, tag, request)
                url = f"{self._base(request)}/v2/{view.registry_name}/blobs/{view.files[0].blob.digest}"
                return Response(303, [(b"location", url.encode()), *SHIELD])
            case AskRedirect():
                return await self._redirect(principal, request)
            case Search():
                return responses.told({"data": await self._search(principal, request)})
            case ShowNothing(posted):
                if posted:
                    return responses.refused_push()
                raise NotFound("not found")

    async def _tree(self, principal: Principal, name: str, request: Request) -> Response:
        base = request.query["static"].rstrip("/")
        if not _BASE_URL.match(base):
            raise BadRequest("static is the URL at which the tree will lie", advice="write http(s)://HOST[/PATH]")
        pages = responses.pages_at(base)
        linked = request.query.get("linked", "1") != "0"
        return responses.told(as_json(await self.trees.of(principal, name, base, pages, linked=linked)))

    async def _page(self, call: OfPeople, principal: Principal, request: Request) -> Response:
        repositories = self.views.repositories
        match call:
            case ListCollections():
                names, more = await repositories.page(principal, request.query.get("last", ""), PAGE_NAMES)
                if _for_people(request):
                    values = {"names": names, "next": names[-1] if more else None}
                    return responses.page(200, "collections.html", values)
                return responses.told({"repositories": list(names), **({"next": names[-1]} if more else {})})
            case ShowCollection(name):
                return await self._collection(principal, name, request)
            case ListTags(name):
                return responses.told({"name": name, "tags": await repositories.all_tags(principal, name)})
            case ShowManifest(name, reference):
                view = await self.views.of(principal, name, reference, request.query.get("arch", "amd64"))
                return responses.told(responses.manifest(view, await self._urls(principal, view, request)))
            case ShowDefinition(name, reference):
                view = await self.views.of(principal, name, reference, request.query.get("arch", "amd64"))
                if view.content.sif is None or view.content.sif.definition is None:
                    raise NoManifest(f"{name}:{reference} has no definition file")
                return Response(
                    200, [(b"content-type", b"text/plain; charset=utf-8"), *SHIELD],
                    view.content.sif.definition.encode("utf-8", "replace"),
                )  # fmt: skip
            case GetFile(digest, file):
                return await self._file(principal, Digest(digest), file, request)

    async def _file(self, principal: Principal, digest: Digest, file: str, request: Request) -> Response:
        blob = await self.objects.find_digest(principal, digest)
        what = Representation(blob.size, blob.digest.hex, 0)
        return await deliver(request, blob, what, self.objects.keeping.open, shielded(FILE_TYPE, file))

    async def _collection(self, principal: Principal, name: str, request: Request) -> Response:
        after = request.query.get("last", "")
        tags, more = await self.views.repositories.tags(principal, name, after, PAGE_TAGS)
        shown = []
        for tag in tags:
            await asyncio.sleep(0)  # others have their turn
            try:
                view = await self.views.of(principal, name, tag)
            except NotFound:  # moved or gone meanwhile, or its bytes wait for repair
                continue
            urls = await self._urls(principal, view, request, SHOWN_FILES)
            shown.append(responses.shown(view, urls, self._base(request)))
        values: dict[str, Any] = {"name": name, "tags": shown, "next": tags[-1] if more else None}
        return responses.page(200, "collection.html", values) if _for_people(request) else responses.told(values)

    async def _urls(self, principal: Principal, view: View, request: Request, most: int | None = None) -> list[str]:
        """Where the files are, or the first of them."""
        scheme, _, host = self._base(request).partition("://")
        return [await self.links.url(principal, one.blob.digest, one.path, scheme, host) for one in view.files[:most]]

    async def _container(self, principal: Principal, name: str, tag: str, id_: str, request: Request) -> Response:
        view = await (self._called(principal, name, id_) if id_ else self.views.of(principal, name, tag))
        if not view.is_singularity:
            raise NotFound("no such container", why="it is no Singularity file")
        url = (await self._urls(principal, view, request))[0]
        return responses.told(responses.container(view, name, tag, url))

    async def _called(self, principal: Principal, name: str, id_: str) -> View:
        """The container with that md5 or sha1, or built from that commit; the newest tags are not looked at first."""
        kind = Algorithm.MD5 if len(id_) == Algorithm.MD5.hex_length else Algorithm.SHA1
        tags, _ = await self.views.repositories.tags(principal, name, "", PAGE_TAGS)
        for tag in tags:
            await asyncio.sleep(0)
            with suppress(NoManifest, NoBlob):
                view = await self.views.of(principal, name, tag)
                if view.is_singularity and id_ in (view.labels.get(REVISION), await self.views.sum_of(view, kind)):
                    return view
        raise NotFound("no such container", why="no file of it has that id")

    async def _image(self, principal: Principal, name: str, tag: str, request: Request) -> View:
        arch = request.query.get("arch") or "amd64"
        digest = responses.digest_of(tag)
        try:
            view = await self.views.of(principal, name, tag, arch)
        except NoManifest:
            if digest is None:
                raise
            view = await self.views.with_file(principal, name, Digest(digest.hex))
        if not view.is_singularity:
            raise NotFound("no such image", why="it is no Singularity file")
        asked = request.query.get("arch")
        if asked and view.architecture not in ("", UNKNOWN, asked):
            raise NotFound(f"no such image for {asked}", why=f"it is for {view.architecture}")
        return view

    async def _redirect(self, principal: Principal, request: Request) -> Response:
        """Pushes go by OCI; pulls by `imagefile`, as redirected ones fail on files whose config is empty."""
        name, asked = request.query.get("namespace", ""), request.query.get("accessTypes", "").split(",")
        if "push" not in asked or not principal.id:
            raise NotFound("pull it here")
        await self.sessions.check_may_push(principal, name)
        token = await self.tokens.issue(principal, refresh=False)
        return responses.told({"token": token.text, "url": self._base(request), "name": name})

    async def _search(self, principal: Principal, request: Request) -> dict[str, list[Any]]:
        value, arch = request.query.get("value", ""), request.query.get("arch", "")
        if len(value) < SHORTEST_SEARCH:
            raise BadRequest(f"a search has at least {SHORTEST_SEARCH} characters")
        images: list[Any] = []
        after, more, looked = "", True, 0
        while more and len(images) < MOST_FOUND and looked < MOST_LOOKED:
            names, more = await self.views.repositories.page(principal, after, PAGE_NAMES)
            fitting = [one for one in names if value.lower() in one][: MOST_LOOKED - looked]
            for name in fitting:
                images += await self._found(principal, name, {one for one in arch.split(",") if one})
            after, looked = names[-1] if names else "", looked + len(fitting)
        return {"entity": [], "collection": [], "container": [], "image": images[:MOST_FOUND]}

    async def _found(self, principal: Principal, name: str, archs: set[str]) -> list[Any]:
        """The images of a repository that are one file, each with all its tags."""
        by_hash: dict[str, tuple[View, list[str]]] = {}
        tags, _ = await self.views.repositories.tags(principal, name, "", PAGE_TAGS)
        for tag in tags:
            await asyncio.sleep(0)
            try:
                view = await self.views.of(principal, name, tag)
            except NotFound:
                continue
            if view.is_sif and (not archs or view.architecture in archs):
                by_hash.setdefault(view.files[0].blob.digest.hex, (view, []))[1].append(tag)
        return [responses.image(view, found) for view, found in by_hash.values()]

    def _base(self, request: Request) -> str:
        return self.public_url or request.base_url


def _for_people(request: Request) -> bool:
    return "text/html" in (request.header(b"accept") or "")


def _guessed(request: Request) -> object:
    """Of a request that could not be read: which of the views it was for."""
    return ListCollections() if request.raw_path.startswith(b"/registry") else None
