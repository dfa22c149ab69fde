"""One of every principal and one of every place, and how the tests of rights tell what each may do."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.asking import Answer, DataApi, ask
from tests.calling import Api, admin
from tests.image_sets import DataSet, Made, push
from tests.registry import Client
from tests.running import RunningServer
from tests.sifs import sif

ROLES = ("guest", "reader", "writer", "maintainer", "owner")
PRINCIPALS = ("anonymous", *ROLES, "stranger", "robot", "admin", "job", "disabled")
"""The robot is a writer, the job's token one of a writer; the admin has no role; the disabled user would be owner."""
PLACES = ("private", "public", "area", "missing")
RANKS = {"robot": "writer", "job": "writer"}
DATA = b"what lies there"


def roles(least: str, yes: int, knows: int = 403, unknown: int = 404) -> dict[str, int]:
    """By principal: `yes` from that role on, `knows` for those who may read it, `unknown` for all others."""
    found = {"anonymous": 401, "disabled": 401}
    for one in PRINCIPALS:
        rank = RANKS.get(one, one)
        if one not in found and rank in ROLES:
            index = ROLES.index(rank)
            found[one] = yes if index >= ROLES.index(least) else knows if index >= ROLES.index("reader") else unknown
        found.setdefault(one, unknown)
    return found


def all_but(status: int, **others: int) -> dict[str, int]:
    return {one: others.get(one, 401 if one in ("anonymous", "disabled") else status) for one in PRINCIPALS}


@dataclass
class World:
    """A server with one of every principal and every place."""

    server: RunningServer
    tokens: dict[str, str | None] = field(default_factory=dict)
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)
    buckets: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """`BUCKET/KEY` of what lies in each place."""
    bytes: dict[str, bytes] = field(default_factory=dict)
    area: str = ""
    repositories: dict[str, str] = field(default_factory=dict)
    images: dict[str, Made] = field(default_factory=dict)
    """In the repositories that are there, under the tag `one`: a SIF in each."""
    tag: str = field(default_factory=lambda: secrets.token_hex(3))


def new_world(server: RunningServer) -> World:
    """All of them, on that server."""
    api, found = admin(server), World(server)
    found.tokens["anonymous"] = None
    for one in PRINCIPALS[1:]:
        role = {"stranger": "reader", "admin": None, "job": "writer", "disabled": "owner"}.get(one, one)
        if one == "robot":
            wish = {"name": f"robot-{found.tag}", "project": "default", "role": "writer"}
            secret = api.done("POST", "/robots", wish, 201).secret
            logged_in = api.done("POST", "/login", {"user": f"robot-{found.tag}", "password": secret}, 201)
            found.tokens[one] = logged_in.token
        else:
            found.tokens[one] = server.user(f"{one}-{found.tag}", role=role)
        if role:
            made = Api(server, found.tokens[one]).done("POST", "/keys", {}, 201)
            found.keys[one] = (made.access, made.secret or "")
    api.done("DELETE", f"/roles/default/stranger-{found.tag}", None, 204)
    api.done("PUT", f"/users/admin-{found.tag}", {"admin": True})
    found.tokens["job"] = server.user(f"job-{found.tag}", job=f"j{found.tag}")
    api.done("PUT", f"/users/disabled-{found.tag}", {"disabled": True})
    fill(found, api)
    return found


def end_world(world: World) -> None:
    """Nobody of it administers the server any more."""
    api = admin(world.server)
    api.done("DELETE", f"/robots/robot-{world.tag}", None, 204)
    api.done("PUT", f"/users/admin-{world.tag}", {"admin": False})


def fill(world: World, api: Api) -> None:
    """Buckets with an object each, and somebody's area."""
    for place in PLACES:
        world.bytes[place] = DATA + secrets.token_bytes(8)
        world.buckets[place] = f"{place}-{world.tag}" if place != "area" else "prominence-data"
    for place in ("private", "public"):
        world.server.bucket(world.buckets[place], public=place == "public")
        api.put(f"{world.buckets[place]}/a", world.bytes[place])
    owner = DataApi(world.server, world.server.user(f"somebody-{world.tag}"))
    assert owner.put("a", world.bytes["area"]).status == 201
    world.area = f"uploads/somebody-{world.tag}/"
    fill_repositories(world)
    for place in PLACES:
        world.names[place] = f"{world.buckets[place]}/{world.area if place == 'area' else ''}a"


def fill_repositories(world: World) -> None:
    """A private and a public one, and a name of none."""
    for place in ("private", "public", "missing"):
        world.repositories[place] = f"r-{world.tag}/{place}"
    for place in ("private", "public"):
        client, made = Client(world.server, world.tokens["maintainer"], world.repositories[place]), DataSet()
        content = sif(definition="From: x\n", labels={"world": world.tag, "place": place})
        layer = made.blob("application/vnd.sylabs.sif.layer.v1.sif", content)
        world.images[place] = made.image([layer])
        push(client, made)
        path = f"/repositories/{client.name}"
        Api(world.server, client.token).done("PUT", path, {"public": place == "public"})


def signed(
    key: tuple[str, str] | None, method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Answer:
    """That request, signed by botocore with that key; unsigned without one."""
    sent = dict(headers or {})
    if key:
        request = AWSRequest(method, url, data=body, headers=sent)
        S3SigV4Auth(Credentials(*key), "s3", "us-east-1").add_auth(request)
        sent = dict(request.prepare().headers)
        sent.pop("Content-Length", None)
    return ask(url, method, body, sent)
