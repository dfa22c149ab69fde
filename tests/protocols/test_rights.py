"""Who may do what: every kind of call × every principal × every place, each cell told here and asked of a real server.

The table below is written from the design, not from the code: a new route fails `test_every_kind_of_call_is_asked`
until somebody says who may use it.
"""

import hashlib
import itertools
import re
import secrets
from collections.abc import Callable
from typing import Any

import pytest

from entrepot.protocols.api import Api as ApiEndpoint
from entrepot.protocols.base import kinds_of
from entrepot.protocols.data import Data
from entrepot.protocols.data import requests as data_requests
from tests.asking import Answer, DataApi
from tests.calling import Api, admin, route_of
from tests.protocols.rights import PRINCIPALS, World, all_but, roles


def readable(yes: int = 200) -> dict[str, dict[str, int]]:
    """A read of one name, in each place; robots go by their role in the bucket of areas."""
    return {
        "private": roles("reader", yes),
        "public": all_but(yes, anonymous=yes),
        "area": all_but(403, robot=yes),
        "missing": all_but(404),
    }


def changing(least: str, yes: int, missing: int = 404) -> dict[str, dict[str, int]]:
    """A change of one name, in each place."""
    return {
        "private": roles(least, yes),
        "public": roles(least, yes, unknown=403),
        "area": all_but(403, robot=yes if least == "writer" else 403),
        "missing": all_but(missing),
    }


def of_repositories(least: str = "") -> dict[str, dict[str, int]]:
    """A read of one repository, or a change that takes that role, in each place."""
    return {
        "private": roles(least or "reader", 200),
        "public": roles(least, 200, unknown=403) if least else all_but(200, anonymous=200),
        "missing": all_but(404),
    }


BY_ADMINS = all_but(403, admin=1)
"""1: whatever it is, it is no refusal of rights."""
EXPECTED: dict[str, dict[str, dict[str, int]]] = {
    # /api/v1, by place
    "GET objects/{bucket}": readable(),
    "GET objects/{bucket}/{key*}": readable(),
    "HEAD objects/{bucket}/{key*}": readable(),
    "GET inspect/{bucket}/{key*}": readable(),
    "POST links": {**readable(201), "public": all_but(201)},
    "GET blobs/{digest}": {**readable(), "area": all_but(404, robot=200)},
    "HEAD blobs/{digest}": {**readable(), "area": all_but(404, robot=200)},
    "PUT objects/{bucket}/{key*}": changing("writer", 201),
    "POST objects/{bucket}/{key*}": changing("writer", 201),
    "POST uploads": changing("writer", 201),
    "DELETE objects/{bucket}/{key*}": changing("maintainer", 204),
    "PUT buckets/{bucket}": {
        "private": roles("maintainer", 200), "public": roles("maintainer", 200), "area": all_but(400),
        "missing": roles("writer", 201),
    },
    "POST buckets/{bucket}": {
        "private": roles("maintainer", 200), "public": roles("maintainer", 200), "area": all_but(400),
        "missing": roles("writer", 201),
    },
    "DELETE buckets/{bucket}": {
        "private": roles("maintainer", 409), "public": roles("maintainer", 409, unknown=404),
        "area": roles("maintainer", 409), "missing": all_but(404),
    },
    "GET repositories/{path*}": of_repositories(),
    "GET tag-moves/{path*}": of_repositories(),
    "PUT repositories/{path*}": of_repositories("maintainer"),
    "POST repositories/{path*}": of_repositories("maintainer"),
    "POST undelete/{path*}": of_repositories("maintainer"),
    # /api/v1, anywhere
    "GET repositories": {"": all_but(200, anonymous=200)},
    "GET buckets": {"": roles("reader", 200)},
    "GET openapi.json": {"": dict.fromkeys(PRINCIPALS, 200)},
    "POST login": {"": dict.fromkeys(PRINCIPALS, 401)},
    "GET me": {"": all_but(200)},
    "GET tokens": {"": all_but(200)},
    "POST tokens": {"": all_but(201, job=403)},
    "DELETE tokens/{jti}": {"": all_but(404, job=403)},
    "GET keys": {"": all_but(200)},
    "POST keys": {"": {**all_but(201), "stranger": 404, "admin": 201, "job": 403}},
    "DELETE keys/{access}": {"": all_but(404, job=403)},
    "PUT users/{name}": {"": all_but(403, admin=404)},
    "POST users/{name}": {"": all_but(403, admin=404)},
    "GET users": {"": all_but(403, admin=200)},
    "POST users": {"": all_but(403, admin=400)},
    "DELETE users/{name}": {"": all_but(403, admin=404)},
    "GET robots": {"": all_but(403, admin=200)},
    "POST robots": {"": {**roles("owner", 409), "admin": 409}},
    "DELETE robots/{name}": {"": all_but(403, admin=404)},
    "GET projects": {"": all_but(403, admin=200)},
    "POST projects": {"": all_but(403, admin=409)},
    "PUT projects/{name}": {"": all_but(403, admin=404)},
    "POST projects/{name}": {"": all_but(403, admin=404)},
    "DELETE projects/{name}": {"": all_but(403, admin=404)},
    "GET roles": {"": all_but(403, admin=200)},
    "PUT roles": {"": {**roles("owner", 404), "admin": 404}},
    "POST roles": {"": {**roles("owner", 404), "admin": 404}},
    "DELETE roles/{project}/{principal}": {"": {**roles("owner", 404), "admin": 404}},
    # an upload's URL is the right: no token counts, but nobody guesses one
    "GET uploads/{upload}": {"": dict.fromkeys(PRINCIPALS, 404)},
    "DELETE uploads/{upload}": {"": dict.fromkeys(PRINCIPALS, 404)},
    "PUT uploads/{upload}/{offset}": {"": dict.fromkeys(PRINCIPALS, 404)},
    "POST uploads/{upload}/{offset}": {"": dict.fromkeys(PRINCIPALS, 404)},
    "POST uploads/{upload}/commit": {"": dict.fromkeys(PRINCIPALS, 404)},
}  # fmt: skip


def request_of(world: World, what: str, place: str) -> tuple[str, object]:
    """Path and body of that call, there; a change is one of a name nobody used before."""
    method, _, pattern = what.partition(" ")
    bucket = world.buckets.get(place, "")
    name = world.names.get(place, "")
    fresh = f"{name}-{secrets.token_hex(4)}"
    if place == "missing" and pattern == "buckets/{bucket}" and method != "DELETE":
        bucket = f"new-{secrets.token_hex(4)}"
    if method in ("PUT", "POST") and pattern == "objects/{bucket}/{key*}":
        return f"/objects/{fresh}", b"new bytes"
    if method == "DELETE" and pattern == "objects/{bucket}/{key*}":
        return f"/objects/{fresh}", None
    prefix = world.area if place == "area" else ""
    image = world.images.get(place)
    bodies: dict[str, object] = {
        "POST links": {"ref": name}, "POST uploads": {"to": fresh, "size": 3},
        "POST login": {"user": f"nobody-{secrets.token_hex(4)}", "password": "x"}, "POST tokens": {}, "POST keys": {},
        "POST undelete/{path*}": {"reference": image.digest if image else "one"},
        "POST users": {"name": "/"}, "POST robots": {"name": f"robot-{world.tag}", "project": "default"},
        "POST projects": {"name": "default"}, "PUT roles": {"principal": "/", "project": "default", "role": "guest"},
    }  # fmt: skip
    bodies["POST roles"] = bodies["PUT roles"]
    body = bodies.get(what)
    if body is None and method in ("PUT", "POST"):
        whole = {"users/{name}": {"password": "x"}, "projects/{name}": {"name": "nowhere-at-all"}}
        body = whole.get(pattern, b"x" if pattern.endswith("{offset}") else {"size": 1} if "commit" in pattern else {})
    path = pattern.replace("{path*}", world.repositories.get(place, ""))
    path = path.replace("{key*}", name.partition("/")[2]).format_map(
        {
            "bucket": bucket, "digest": hashlib.sha256(world.bytes.get(place, b"")).hexdigest(), "jti": "0" * 32,
            "access": "EN0", "name": "nowhere-at-all", "project": "default", "principal": "nobody-at-all",
            "upload": "0" * 32, "offset": "0",
        }
    )  # fmt: skip
    query = {"objects/{bucket}": f"?prefix={prefix}", "tag-moves/{path*}": "?tag=one"}.get(pattern, "")
    return f"/{path}{query}", body


CELLS = [(what, place) for what, places in EXPECTED.items() for place in places]


@pytest.mark.parametrize(("what", "place"), CELLS, ids=[f"{what} {place}" for what, place in CELLS])
def test_each_principal_gets_what_its_role_gives_and_no_more(world: World, what: str, place: str) -> None:
    got = {}
    for one in PRINCIPALS:
        path, body = request_of(world, what, place)
        if what.startswith("DELETE objects") and place in ("private", "public"):
            admin(world.server).put(path.removeprefix("/objects/"), b"to be deleted")
        got[one] = Api(world.server, world.tokens[one]).ask(what.partition(" ")[0], path, body).status
    assert got == EXPECTED[what][place]


def test_a_name_is_overwritten_by_maintainers_alone(world: World) -> None:
    got = {}
    for one in PRINCIPALS:
        got[one] = Api(world.server, world.tokens[one]).ask("PUT", f"/objects/{world.names['private']}", b"x").status
    assert got == roles("maintainer", 201)
    admin(world.server).put(world.names["private"], world.bytes["private"])


def test_who_may_write_may_not_open_a_bucket_to_all(world: World) -> None:
    for one in ("writer", "robot", "job"):
        api = Api(world.server, world.tokens[one])
        assert api.ask("PUT", f"/buckets/{world.buckets['private']}", {"public": True}).status == 403
        assert api.ask("PUT", f"/buckets/new-{secrets.token_hex(4)}", {"public": True}).status == 403
    assert admin(world.server).done("GET", "/buckets")


def test_every_kind_of_call_is_asked() -> None:
    """Each route of each table has its line; a new one wants one."""
    asked = {
        route_of(what.partition(" ")[0], "/" + re.sub(r"{.*?}", "x", what.partition(" ")[2]).replace("x/x", "1/1")).kind
        for what in EXPECTED
    }
    assert asked == set(kinds_of(ApiEndpoint))
    assert set(DATA_EXPECTED) == set(kinds_of(Data))


# What one may not know of, and what is not.

HIDDEN: list[tuple[str, Callable[[World], str], str, Any]] = [
    ("private bucket", lambda w: f"{w.buckets['private']}/a", "missing-bucket/a", None),
    ("area", lambda w: w.names["area"], "prominence-data/uploads/nobody-at-all/a", None),
    ("area and its keys", lambda w: w.names["area"], "prominence-data/uploads/nobody-at-all/b", None),
    ("scratch", lambda w: f"prominence-data/scratch/j{w.tag}/a", "prominence-data/scratch/none/a", None),
    ("project", lambda w: f"default:{w.buckets['private']}/a", "nowhere-at-all:bucket/a", None),
]


def scrubbed(answer: Answer, *names: str) -> tuple[int, set[str], str]:
    """An answer without the names that were asked for and the request's id."""
    text = answer.body.decode()
    parts = {part for name in names for part in (name, *re.split("[/:]", name)) if len(part) > 3}
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, "NAME")
    return answer.status, {name for name, _ in answer.headers}, re.sub(r'"request_id":"\w+"', "", text)


@pytest.mark.parametrize("one", ["anonymous", "guest", "stranger", "admin", "disabled"])
@pytest.mark.parametrize(("there", "nonsense"), [(row[1], row[2]) for row in HIDDEN], ids=[row[0] for row in HIDDEN])
def test_what_one_may_not_know_of_answers_as_nonsense_does(
    world: World, one: str, there: Callable[[World], str], nonsense: str
) -> None:
    api, name = Api(world.server, world.tokens[one]), there(world)
    for method, path, body in (
        ("GET", "/objects/{}", None), ("HEAD", "/objects/{}", None), ("GET", "/inspect/{}", None),
        ("PUT", "/objects/{}", b"x"), ("DELETE", "/objects/{}", None), ("POST", "/uploads", "to"),
        ("POST", "/links", "ref"), ("GET", "LIST", None), ("DELETE", "BUCKET", None),
    ):  # fmt: skip
        answers = []
        for asked in (name, nonsense):
            bucket, _, key = asked.partition("/")
            at = {"LIST": f"/objects/{bucket}?prefix={key}", "BUCKET": f"/buckets/{bucket}"}.get(
                path, path.format(asked)
            )
            sent = {body: asked} if isinstance(body, str) else body
            answers.append(scrubbed(api.ask(method, at, sent), name, nonsense))
        assert answers[0] == answers[1], (method, path)
        assert answers[0][0] in (401, 403, 404)


@pytest.mark.parametrize("one", ["anonymous", "guest", "stranger", "admin"])
def test_a_digest_one_may_not_read_answers_as_one_that_is_not_there(world: World, one: str) -> None:
    api = Api(world.server, world.tokens[one])
    for place, method in itertools.product(("private", "area"), ("GET", "HEAD")):
        there = hashlib.sha256(world.bytes[place]).hexdigest()
        none = "0" * 64
        assert scrubbed(api.ask(method, f"/blobs/sha256:{there}"), there, none) == scrubbed(
            api.ask(method, f"/blobs/sha256:{none}"), there, none
        )


def test_a_project_one_is_not_in_answers_as_one_that_is_not_there(world: World) -> None:
    api = Api(world.server, world.tokens["stranger"])
    for method, path, body in (
        ("GET", "/buckets?project={}", None), ("PUT", "/buckets/{}:box-x", {}), ("POST", "/keys", "project"),
    ):  # fmt: skip
        answers = {
            str(scrubbed(api.ask(method, path.format(name), {body: name} if isinstance(body, str) else body), name))
            for name in ("default", "nowhere-at-all")
        }
        assert len(answers) == 1


# PROMINENCE

DATA_EXPECTED: dict[type, tuple[str, str, Callable[[World], object], dict[str, int]]] = {
    data_requests.AskUpload: ("POST", "/data/upload", lambda _: {"filename": "a"}, all_but(201)),
    data_requests.AskOutput: ("POST", "/data/output", lambda _: {"name": "a"}, all_but(400, job=201)),
    data_requests.AskDownload: ("POST", "/data/download", lambda _: {"name": "none"}, all_but(400)),
    data_requests.ListOwn: ("GET", "/data", lambda _: None, all_but(200)),
    data_requests.ListGroup: ("GET", "/data/somebodys", lambda _: None, all_but(403)),
    data_requests.Delete: ("DELETE", "/data/none", lambda _: None, all_but(204, robot=403)),
}
"""A robot is its role even in an area of its own name: a writer deletes nothing."""


@pytest.mark.parametrize("kind", list(DATA_EXPECTED), ids=lambda kind: kind.__name__)
def test_each_principal_has_its_own_area_in_prominence(world: World, kind: type) -> None:
    method, path, body, expected = DATA_EXPECTED[kind]
    got = {
        one: DataApi(world.server, world.tokens[one]).ask(method, path, body(world)).status for one in PRINCIPALS
    }  # fmt: skip
    assert got == expected


@pytest.mark.parametrize("one", PRINCIPALS)
def test_nobody_reaches_the_area_of_somebody_else_in_prominence(world: World, one: str) -> None:
    who = DataApi(world.server, world.tokens[one])
    wanted = 401 if one in ("anonymous", "disabled") else 403
    for method, path, body in (
        ("POST", "/data/upload", {"filename": "somebodys/a"}), ("POST", "/data/download", {"name": "somebodys/a"}),
        ("GET", "/data/somebodys/a", None), ("DELETE", "/data/somebodys/a", None),
        ("DELETE", f"/data/..%2Fsomebody-{world.tag}/a", None),
    ):  # fmt: skip
        assert who.ask(method, path, body).status == wanted
