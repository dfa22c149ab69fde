"""Who may do what in repositories: every kind of call of OCI and of the Singularity views × principal × place.

Written from the design, as `test_rights`: a new kind of call fails until somebody says here who may use it.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from entrepot.protocols.base import kinds_of
from entrepot.protocols.oci import Oci
from entrepot.protocols.oci import calls as oci
from entrepot.protocols.registry import Registry
from entrepot.protocols.registry import calls as views
from tests.asking import Answer, DataApi
from tests.calling import admin
from tests.image_sets import MANIFEST
from tests.protocols.rights import PRINCIPALS, World, all_but, roles
from tests.registry import Client, digest_of
from tests.sifs import sif
from tests.views import see

Row = dict[str, int]
REPOSITORIES = ("private", "public", "missing")
OBJECTS = ("private object", "public object", "object in an area")
NOBODY = "0" * 64


def reads(yes: int = 200, missing: int = 404, unknown: int = 404, anonymous: int = 401) -> dict[str, Row]:
    """A read, in each place; of a name that is not there a reader hears `missing`."""
    closed = {"anonymous": anonymous, "disabled": anonymous}
    return {
        "private": roles("reader", yes, unknown=unknown) | closed,
        "public": all_but(yes, anonymous=yes) | {"disabled": anonymous},
        "missing": roles("reader", missing, unknown=unknown) | closed,
        "private object": roles("reader", yes, unknown=unknown) | closed,
        "public object": all_but(yes, anonymous=yes) | {"disabled": anonymous},
        "object in an area": all_but(404, robot=yes) | closed,
    }


def pushes(yes: int) -> dict[str, Row]:
    """A push, in each place; who may push hears of a conflict where an object is."""
    return {
        "private": roles("writer", yes), "public": roles("writer", yes, unknown=403), "missing": roles("writer", yes),
        "private object": roles("writer", 409), "public object": roles("writer", 409, unknown=403),
        "object in an area": roles("writer", 409),
    }  # fmt: skip


def removals() -> dict[str, Row]:
    """A delete, in each place; whoever may read an object hears that it is not deleted this way."""
    return {
        "private": roles("maintainer", 202), "public": roles("maintainer", 202, unknown=403), "missing": all_but(404),
        "private object": roles("reader", 405), "public object": all_but(405, anonymous=405),
        "object in an area": all_but(404, robot=405),
    }  # fmt: skip


HIDING = {**reads(anonymous=404, unknown=404)}
"""Shub and the library tell 404 of all they do not tell."""
for _row in HIDING.values():
    _row.update({one: 404 for one, status in _row.items() if status in (401, 403)})
ALL = dict.fromkeys(PRINCIPALS, 200)

OCI: dict[type, dict[str, Row]] = {
    oci.Ping: {"": all_but(200)},
    oci.AskToken: {"": {**ALL, "disabled": 401}},
    oci.ListRepositories: {"": all_but(200)},
    oci.ListTags: reads(),
    oci.ListReferrers: {**reads(missing=200), "object in an area": roles("reader", 200)},
    oci.GetManifest: reads(),
    oci.GetBlob: reads(),
    oci.PutManifest: pushes(201),
    oci.DeleteManifest: removals(),
    oci.DeleteBlob: removals(),
    oci.BeginUpload: pushes(202),
    oci.Append: {"private": {**dict.fromkeys(PRINCIPALS, 404), "anonymous": 202, "disabled": 202, "writer": 202}},
    oci.EndUpload: {"private": {**dict.fromkeys(PRINCIPALS, 404), "anonymous": 201, "disabled": 201, "writer": 201}},
    oci.ShowUpload: {"private": {**dict.fromkeys(PRINCIPALS, 404), "anonymous": 204, "disabled": 204, "writer": 204}},
    oci.CancelUpload: {"private": {**dict.fromkeys(PRINCIPALS, 404), "anonymous": 204, "disabled": 204, "writer": 204}},
}  # fmt: skip
"""An upload is the writer's who began it; its address is the right to it, for nobody else who is known."""
VIEWS: dict[type, dict[str, Row]] = {
    views.ListCollections: {"": {**ALL, "disabled": 401}},
    views.ShowCollection: reads(),
    views.ShowTree: reads(),
    views.ListTags: reads(),
    views.ShowManifest: reads(),
    views.ShowDefinition: reads(),
    views.GetFile: {
        **reads(), "object in an area": all_but(404, robot=200), "missing": all_but(404),
    },
    views.ShowServices: {"": ALL},
    views.CheckToken: {"": {**ALL, "anonymous": 404, "disabled": 404}},
    views.ShowContainer: {place: HIDING[place] for place in REPOSITORIES},
    views.ShowImage: HIDING,
    views.GetImageFile: {
        place: {one: 303 if status == 200 else status for one, status in row.items()} for place, row in HIDING.items()
    },
    views.AskRedirect: {
        place: roles("writer", 200, knows=404) | {"anonymous": 404, "disabled": 404} for place in REPOSITORIES
    },
    views.Search: {"": {**ALL, "disabled": 404}},
    views.ShowNothing: {"": dict.fromkeys(PRINCIPALS, 404)},
}  # fmt: skip


OF_UPLOAD: dict[type, tuple[str, str]] = {
    oci.Append: ("PATCH", ""), oci.EndUpload: ("PUT", f"?digest={digest_of(b'')}"), oci.ShowUpload: ("GET", ""),
    oci.CancelUpload: ("DELETE", ""),
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A name, and the bytes that lie there."""

    name: str
    content: bytes
    manifest: str


@pytest.fixture(scope="module")
def places(world: World) -> dict[str, Place]:
    """Repositories, and a SIF as an object in each kind of bucket."""
    found = {}
    for place in ("private", "public"):
        image = world.images[place]
        client = Client(world.server, world.tokens["maintainer"], world.repositories[place])
        layer = json.loads(image.data)["layers"][0]["digest"]
        found[place] = Place(client.name, client.done("GET", f"blobs/{layer}", 200).body, image.digest)
    found["missing"] = Place(world.repositories["missing"], b"nothing", f"sha256:{NOBODY}")
    for place in OBJECTS:
        content = sif(definition="From: x\n", labels={"world": world.tag, "place": place})
        if place == "object in an area":
            owner = DataApi(world.server, world.server.user(f"somebody-{world.tag}"))
            assert owner.put("a.sif", content).status == 201
            name, token = f"prominence-data/{world.area}a.sif", owner.token
        else:
            bucket = world.buckets[place.partition(" ")[0]]
            admin(world.server).put(f"{bucket}/a.sif", content)
            name, token = f"{bucket}/a.sif", world.tokens["maintainer"]
        made = Client(world.server, token, name).done("GET", "manifests/latest", 200)
        found[place] = Place(name, content, made["docker-content-digest"])
    return found


def asked_of_oci(world: World, places: dict[str, Place], kind: type, where: str, one: str) -> Answer:  # noqa: C901
    """What that principal hears; what it would change is made anew for it by a maintainer."""
    place = places.get(where, Place("", b"", ""))
    object_ = where in OBJECTS
    name = f"{place.name}-{secrets.token_hex(4)}" if where == "missing" else place.name
    client = Client(world.server, world.tokens[one], name)
    maker = client.by(world.tokens["maintainer"])
    tag, blob = ("latest" if object_ else "one"), digest_of(place.content)
    fresh = secrets.token_bytes(20)
    match kind:
        case oci.Ping:
            return client.ask("GET", "/v2/")
        case oci.AskToken:
            return client.ask("GET", "/v2/token?service=entrepot")
        case oci.ListRepositories:
            return client.ask("GET", "/v2/_catalog")
        case oci.ListTags:
            return client.ask("GET", "tags/list")
        case oci.ListReferrers:
            return client.ask("GET", f"referrers/{place.manifest}")
        case oci.GetManifest:
            return same(client.ask(method, f"manifests/{reference}") for method in ("GET", "HEAD")
                        for reference in (tag, place.manifest))  # fmt: skip
        case oci.GetBlob:
            return same(client.ask(method, f"blobs/{blob}") for method in ("GET", "HEAD"))
        case oci.PutManifest:
            data = world.images[where].data if where in world.images else world.images["private"].data
            return client.ask("PUT", f"manifests/t{secrets.token_hex(4)}", data, {"Content-Type": MANIFEST})
        case oci.DeleteManifest:
            doomed = tag if object_ else "doomed"
            if where in world.images:
                maker.put(doomed, world.images[where].data, MANIFEST)
            return client.ask("DELETE", f"manifests/{doomed}")
        case oci.DeleteBlob:
            digest = blob if where not in world.images else maker.push(fresh)
            return client.ask("DELETE", f"blobs/{digest}")
        case oci.BeginUpload:
            return client.ask("POST", "blobs/uploads/", b"")
        case _:
            pass
    upload = client.by(world.tokens["writer"]).begin()
    method, query = OF_UPLOAD[kind]
    return client.ask(method, upload + query, b"" if method != "GET" else None)


def same(answers: Iterable[Answer]) -> Answer:
    """The one answer that several calls got, as far as rights go."""
    found = list(answers)
    assert len({answer.status for answer in found}) == 1, found
    return found[0]


def asked_of_views(world: World, places: dict[str, Place], kind: type, where: str, one: str) -> Answer:
    """What that principal hears."""
    place = places.get(where, Place("x/y", b"", ""))
    tag = "latest" if where in OBJECTS else "one"
    hex_ = hashlib.sha256(place.content).hexdigest() if where != "missing" else NOBODY
    at = f"/registry/{place.name}"
    paths = {
        views.ListCollections: "/registry/", views.ShowCollection: f"{at}/", views.ListTags: f"{at}/tags",
        views.ShowTree: f"{at}/?static=https://x.example", views.ShowManifest: f"{at}/manifests/{tag}",
        views.ShowDefinition: f"{at}/manifests/{tag}/Singularity", views.GetFile: f"/registry/files/x/{hex_}.sif",
        views.ShowServices: "/assets/config/config.prod.json", views.CheckToken: "/v1/token-status",
        views.ShowContainer: f"/api/container/{place.name}:{tag}", views.ShowImage: f"/v1/images/{place.name}:{tag}",
        views.GetImageFile: f"/v1/imagefile/{place.name}:{tag}", views.Search: "/v1/search?value=abc",
        views.AskRedirect: f"/v1/oci-redirect?namespace={place.name}&accessTypes=push",
        views.ShowNothing: "/v1/entities/x",
    }  # fmt: skip
    return same(see(world.server, paths[kind], world.tokens[one], method=method) for method in ("GET", "HEAD"))


CELLS = [(kind, place) for table in (OCI, VIEWS) for kind, row in table.items() for place in row]


IDS = [f"{kind.__module__.split('.')[-2]} {kind.__name__} {place}" for kind, place in CELLS]


@pytest.mark.parametrize(("kind", "place"), CELLS, ids=IDS)
def test_each_principal_gets_what_its_role_gives_and_no_more(
    world: World, places: dict[str, Place], kind: type, place: str
) -> None:
    table, asked = (OCI, asked_of_oci) if kind in OCI else (VIEWS, asked_of_views)
    got = {one: asked(world, places, kind, place, one).status for one in PRINCIPALS}
    assert got == table[kind][place]


def test_every_kind_of_call_is_asked() -> None:
    assert set(OCI) == set(kinds_of(Oci))
    assert set(VIEWS) == set(kinds_of(Registry))


def test_a_tag_is_moved_by_maintainers_alone(world: World, places: dict[str, Place]) -> None:
    maker = Client(world.server, world.tokens["maintainer"], places["private"].name)
    image = world.images["private"].data
    got = {}
    for one in PRINCIPALS:
        tag = f"t{secrets.token_hex(4)}"
        maker.put(tag, image + b"\n", MANIFEST)
        got[one] = maker.by(world.tokens[one]).ask("PUT", f"manifests/{tag}", image, {"Content-Type": MANIFEST}).status
    assert got == roles("maintainer", 201)


@pytest.mark.parametrize("source", ["private", "public", "private object", "public object", "object in an area"])
def test_bytes_are_mounted_from_where_one_may_read_them(world: World, places: dict[str, Place], source: str) -> None:
    place, got = places[source], {}
    for one in ("writer", "robot", "job", "maintainer", "owner"):
        target = Client(world.server, world.tokens[one], f"r-{world.tag}/to-{secrets.token_hex(4)}")
        query = f"mount={digest_of(place.content)}&from={place.name}"
        got[one] = target.ask("POST", f"blobs/uploads/?{query}", b"").status
    wanted = dict.fromkeys(got, 201)
    if source == "object in an area":
        wanted = {**dict.fromkeys(got, 202), "robot": 201}
    assert got == wanted
