"""The PROMINENCE data API: a call in, a service asked, a response out."""

from dataclasses import dataclass
from typing import Any, ClassVar

from entrepot.errors import BadName, BadRequest, EntrepotError, Unauthenticated
from entrepot.model import Digest, ObjectName
from entrepot.principals import Principal
from entrepot.protocols.base import Endpoint, Request, Response, bearer, read_json
from entrepot.protocols.data import requests, responses
from entrepot.protocols.data.requests import AskDownload, AskOutput, AskUpload, Call, Delete, ListGroup, ListOwn
from entrepot.services.areas import Areas
from entrepot.services.identity import Identity
from entrepot.services.links import OUTPUT_SECONDS, Links
from entrepot.services.objects import Objects
from entrepot.services.places import IMAGES

MAX_BODY: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Data(Endpoint[Call]):
    """`/prominence/v1/data…` and `/data…`. `public_url` goes into the links, else the address the client used."""

    name: ClassVar[str] = "prominence"
    calls: ClassVar[Any] = Call
    identity: Identity
    areas: Areas
    objects: Objects
    links: Links
    public_url: str = ""

    def parse(self, request: Request) -> Call:
        """As `Endpoint.parse`."""
        return requests.parse(request.method, request.raw_path)

    async def identify(self, call: Call, request: Request) -> Principal:
        """By a bearer token; any word may stand in front of it."""
        token = bearer(request)
        if token is None:
            raise Unauthenticated("no token", advice="send: Authorization: Bearer TOKEN")
        return await self.identity.of_token(token)

    async def act(self, call: Call, principal: Principal, request: Request) -> Response:
        """As `Endpoint.act`."""
        match call:
            case AskUpload():
                return await self._upload(principal, request)
            case AskOutput():
                name = await self.areas.output(principal, _named(await read_json(request, MAX_BODY)))
                url = await self.links.put(principal, name, self._base(request), OUTPUT_SECONDS)
                return responses.told(201, {"url": url})
            case AskDownload():
                return await self._download(principal, request)
            case ListOwn():
                return await responses.listed(await self.areas.own(principal))
            case ListGroup(path):
                return await responses.listed(await self.areas.of_group(principal, path))
            case Delete(name):
                await self.objects.names.delete(principal, await self.areas.place(principal, name))
                return responses.gone()

    def refuse(self, error: EntrepotError, request: Request) -> Response:
        """As `Endpoint.refuse`."""
        return responses.refused(error)

    async def _upload(self, principal: Principal, request: Request) -> Response:
        query = request.query
        members = await read_json(request, MAX_BODY, needed="name" not in query)
        asked = query.get("name", members.get("filename"))
        checksum = query.get("checksum") or members.get("checksum")
        if not isinstance(asked, str):
            raise BadRequest("no name", why="filename is a string", advice='send {"filename": NAME}')
        if checksum not in (None, "") and not isinstance(checksum, str):
            raise BadRequest("checksum is a string of 64 hex digits")
        digest = Digest.parse(checksum) if checksum else None
        name = await self.areas.place(principal, asked)
        if digest is None:
            return responses.told(201, {"url": await self.links.put(principal, name, self._base(request))})
        form = await self.links.form(principal, name, digest, self._base(request))
        return responses.told(201, {"url": form.url, "fields": form.fields})

    async def _download(self, principal: Principal, request: Request) -> Response:
        members = await read_json(request, MAX_BODY)
        seconds = members.get("expires", 3600)
        if type(seconds) is not int:
            raise BadRequest("expires is a whole number of seconds")
        asked = _named(members)
        if asked.startswith(f"{IMAGES}/"):
            shown = ObjectName(IMAGES, asked.removeprefix(f"{IMAGES}/"))
            url, found = await self.links.get(principal, shown, self._base(request), seconds)
            return responses.told(201, {"url": url, "sha256": found.digest.hex, "size": found.size})
        at_scratch = principal.job is not None and asked.startswith(f"scratch/{principal.job}/")
        name = (
            await self.areas.output(principal, asked.split("/", 2)[2])
            if at_scratch
            else await self.areas.place(principal, asked)
        )
        url, found = await self.links.get(principal, name, self._base(request), seconds)
        return responses.told(201, {"url": url, "sha256": found.digest.hex, "size": found.size})

    def _base(self, request: Request) -> str:
        return self.public_url or request.base_url


def _named(members: dict[str, Any]) -> str:
    name = members.get("name")
    if not isinstance(name, str):
        raise BadName("no name", advice='send {"name": NAME}')
    return name
