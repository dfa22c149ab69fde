"""Repositories and their tags through `/api/v1`."""

from dataclasses import dataclass

from entrepot import shapes
from entrepot.errors import BadRequest
from entrepot.principals import Principal
from entrepot.protocols.api import responses
from entrepot.protocols.api.bodies import read_shape
from entrepot.protocols.api.calls import ChangeRepository, ListRepositories, ListTagMoves, ShowRepository, Undelete
from entrepot.protocols.base import Request, Response, json_response
from entrepot.services.manifests import Manifests

MAX_PAGE: int = 1000
RegistryCall = ListRepositories | ShowRepository | ChangeRepository | ListTagMoves | Undelete


@dataclass(frozen=True, slots=True)
class Registry:
    """Calls about repositories."""

    manifests: Manifests

    async def act(self, call: RegistryCall, principal: Principal, request: Request) -> Response:
        """Do it."""
        repositories = self.manifests.repositories
        match call:
            case ListRepositories(after, limit):
                names, more = await repositories.page(principal, after, max(1, min(limit, MAX_PAGE)))
                return json_response(200, shapes.RepositoryPage(list(names), names[-1] if more else None))
            case ShowRepository(path):
                return json_response(200, responses.repository_shape(await repositories.look(principal, path)))
            case ChangeRepository(path):
                wish = await read_shape(request, shapes.RepositoryRequest)
                decided = {"immutable_tags": wish.immutable_tags, "sparse_index": wish.sparse_index}
                config = {name: value for name, value in decided.items() if value is not None}
                changed = await repositories.configure(principal, path, public=wish.public, config=config)
                return json_response(200, responses.repository_shape(changed))
            case ListTagMoves(path, tag):
                if not tag:
                    raise BadRequest("no tag", advice="add ?tag=TAG")
                moves = await repositories.history(principal, path, tag)
                return json_response(200, [responses.tag_move(move) for move in moves])
            case Undelete(path):
                reference = (await read_shape(request, shapes.UndeleteRequest)).reference
                digest = await self.manifests.bring_back(principal, path, reference)
                return json_response(200, shapes.Undeleted(path, reference, str(digest)))
