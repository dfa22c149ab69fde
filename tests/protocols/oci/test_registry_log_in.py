"""Who is asked for a proof and how, and the tokens that registries' clients get for a name and a password."""

import base64
import json
import re
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest

from tests.asking import Answer, answer_of, ask, connection
from tests.calling import admin
from tests.image_sets import MANIFEST, pushed_image
from tests.registry import TOKEN, Client, People, checked, digest_of, new_name, new_user
from tests.running import RunningServer

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True)
class Person:
    """Who has a password, and is a writer."""

    name: str
    password: str


@pytest.fixture(scope="module")
def person(people: People) -> Person:
    found = Person(new_name(), "a pass:word of ümlauts")
    people.server.call("POST", "/users", {"name": found.name, "password": found.password})
    people.server.call("PUT", "/roles", {"principal": found.name, "project": people.project, "role": "writer"})
    return found


@pytest.fixture(scope="module")
def robot(people: People) -> Person:
    name = new_name()
    wish = {"name": name, "project": people.project, "role": "writer"}
    return Person(name, admin(people.server).done("POST", "/robots", wish, 201).secret)


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def asked(server: RunningServer, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> Answer:
    return checked(method, ask(server.url + path, method, headers=headers or {}, cafile=server.cafile))


def posted(server: RunningServer, **fields: str) -> Answer:
    return checked(
        "POST", ask(f"{server.url}/v2/token", "POST", urlencode(fields).encode(), FORM, cafile=server.cafile)
    )


def token_of(answer: Answer, *, refresh: bool = False) -> str:
    """The token of an answer that is as it should be."""
    assert answer.status == 200, answer
    more = {"refresh_token"} if refresh else set()
    assert answer.json.keys() == {"token", "access_token", "expires_in", "issued_at"} | more
    assert answer.json["token"] == answer.json["access_token"]
    assert answer.json["expires_in"] == 3600
    assert answer["cache-control"] == "no-store"
    issued = datetime.strptime(answer.json["issued_at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs(issued.timestamp() - time.time()) < 60
    token: str = answer.json["token"]
    return token


def challenge(answer: Answer) -> tuple[str, str | None]:
    """The realm, and the scope if there is one."""
    assert answer.status == 401, answer
    found = TOKEN.match(answer["www-authenticate"])
    assert found, answer
    return found[1], found[2]


# --- the challenge ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_strangers_are_always_challenged_at_the_root(server: RunningServer, path: str, method: str) -> None:
    for headers in ({}, {"Authorization": "none"}, {"Authorization": "Basic Og=="}, {"Authorization": ""}):
        answer = asked(server, path, headers, method)
        assert challenge(answer) == (f"{server.url}/v2/token", None)
        assert method == "HEAD" or answer.json["errors"][0]["code"] == "UNAUTHORIZED"


def test_who_has_a_proof_is_welcome(server: RunningServer, people: People, person: Person) -> None:
    for path in ("/v2/", "/v2"):
        for headers in (bearer(people.tokens["stranger"] or ""), basic(person.name, person.password)):
            answer = asked(server, path, headers)
            assert answer.status == 200
            assert answer.json == {}
            assert asked(server, path, headers, "HEAD").status == 200


@pytest.mark.parametrize("host", ["registry.example.org", "registry.example.org:8443", "127.0.0.1:1", "[::1]:5000"])
def test_the_realm_is_at_the_host_that_was_asked(server: RunningServer, host: str) -> None:
    scheme = server.url.partition(":")[0]
    with closing(connection(server.url, server.cafile)) as wire:
        wire.putrequest("GET", "/v2/", skip_host=True)
        wire.putheader("Host", host)
        wire.endheaders()
        answer = checked("GET", answer_of(wire.getresponse()))
    assert challenge(answer)[0] == f"{scheme}://{host}/v2/token"


@pytest.mark.parametrize(
    ("method", "path", "rights"),
    [
        ("GET", "tags/list", "pull"), ("GET", "manifests/one", "pull"), ("HEAD", "manifests/one", "pull"),
        ("GET", f"blobs/{digest_of(b'')}", "pull"), ("GET", f"referrers/{digest_of(b'')}", "pull"),
        ("POST", "blobs/uploads/", "pull,push"), ("PUT", "manifests/one", "pull,push"),
        ("DELETE", "manifests/one", "delete"), ("DELETE", f"blobs/{digest_of(b'')}", "delete"),
    ],
)  # fmt: skip
def test_the_challenge_says_what_for_and_is_the_same_whether_the_name_is_there(
    people: People, method: str, path: str, rights: str
) -> None:
    there, missing = people.client("anonymous"), people.client("anonymous")
    pushed_image(there.by(people.tokens["maintainer"]), "one")
    elsewhere = there.at(new_name())
    found = []
    for client in (there, missing, elsewhere):
        answer = client.ask(method, path, b"{}" if method in ("POST", "PUT") else None)
        assert challenge(answer) == (f"{people.server.url}/v2/token", f"repository:{client.name}:{rights}")
        found.append(answer.body.replace(client.name.encode(), b""))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    "value", ["Bearer x.y.z", "Bearer ", "Bearer", "Basic !!!", "Digest a=b", "Basic " + "eDp5", "nonsense"]
)
def test_a_proof_that_is_wrong_is_challenged_everywhere(people: People, value: str) -> None:
    client = people.client("anonymous")
    for path in ("/v2/", "tags/list", "/v2/_catalog"):
        assert client.ask("GET", path, headers={"Authorization": value}).status == 401
    client.refused("POST", "blobs/uploads/", 401, "UNAUTHORIZED", b"", {"Authorization": value})


def test_basic_is_taken_everywhere(people: People, person: Person) -> None:
    client, proof = people.client("anonymous"), basic(person.name, person.password)
    digest = digest_of(b"{}")
    client.done("POST", f"blobs/uploads/?digest={digest}", 201, b"{}", proof)
    body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": {"mediaType": MANIFEST, "digest": digest, "size": 2}}
    client.done("PUT", "manifests/one", 201, json.dumps(body).encode(), {**proof, "Content-Type": MANIFEST})
    assert client.done("GET", "tags/list", 200, headers=proof).json["tags"] == ["one"]


def test_a_token_may_stand_for_the_password(people: People) -> None:
    client = people.client("writer")
    client.push(b"{}")
    proof = basic("whoever", client.token or "")
    client.by(None).done("GET", "tags/list", 200, headers=proof)
    assert client.by(token_of(asked(people.server, "/v2/token", proof))).tags() == []
    client.by(token_of(posted(people.server, grant_type="password", username="x", password=client.token or ""))).tags()


# --- the token service -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "", "?service=entrepot", "?service=entrepot&account=x&client_id=y",
        "?service=entrepot&scope=repository%3Aa%3Apull&scope=repository%3Ab%3Apull%2Cpush",
        "?scope=registry:catalog:*&scope=nonsense&offline_token=false", "?service=another",
    ],
)  # fmt: skip
def test_a_token_is_good_for_all_its_owner_may_whatever_was_asked(people: People, person: Person, query: str) -> None:
    token = token_of(asked(people.server, f"/v2/token{query}", basic(person.name, person.password)))
    client = people.client().by(token)
    client.push(b"{}")
    assert client.tags() == []


def test_a_form_gets_a_token_too(people: People, person: Person) -> None:
    fields = {"grant_type": "password", "username": person.name, "password": person.password, "service": "entrepot"}
    token = token_of(posted(people.server, **fields, scope="repository:a:pull repository:b:pull", client_id="x"))
    people.client().by(token).push(b"{}")


def test_a_robot_gets_a_token_for_its_secret(people: People, robot: Person) -> None:
    for token in (
        token_of(asked(people.server, "/v2/token?service=entrepot", basic(robot.name, robot.password))),
        token_of(posted(people.server, grant_type="password", username=robot.name, password=robot.password)),
    ):
        people.client().by(token).push(b"{}")
    people.client("anonymous").done("POST", "blobs/uploads/", 202, b"", basic(robot.name, robot.password))


def test_a_longer_token_is_given_when_asked_for_and_gets_the_next(people: People, person: Person) -> None:
    proof = basic(person.name, person.password)
    by_query = asked(people.server, "/v2/token?offline_token=true", proof)
    fields = {"grant_type": "password", "username": person.name, "password": person.password}
    by_form = posted(people.server, **fields, access_type="offline")
    for answer in (by_query, by_form):
        token_of(answer, refresh=True)
        again = posted(people.server, grant_type="refresh_token", refresh_token=answer.json["refresh_token"])
        assert again.status == 200
        people.client().by(again.json["access_token"]).push(b"{}")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "none"}, {"Authorization": "Basic Og=="}])
def test_nobody_gets_a_token_that_is_nobodys(people: People, headers: dict[str, str]) -> None:
    token = token_of(asked(people.server, "/v2/token?service=entrepot&scope=repository:a:pull", headers))
    client = people.client()
    client.push(b"{}")
    client.by(token).refused("GET", "tags/list", 401, "UNAUTHORIZED")
    client.by(token).refused("POST", "blobs/uploads/", 401, "UNAUTHORIZED", b"")
    client.by(token).done("GET", "/v2/", 200)  # clients try their new token here


def test_a_wrong_password_gets_no_token(server: RunningServer, person: Person) -> None:
    for name in (person.name, new_name()):
        assert asked(server, "/v2/token", basic(name, "wrong")).json["errors"][0]["code"] == "UNAUTHORIZED"
        answer = posted(server, grant_type="password", username=name, password="wrong")
        assert answer.status == 401
        assert asked(server, "/v2/", basic(name, "wrong")).status == 401
    assert posted(server, grant_type="refresh_token", refresh_token="x").status == 401
    assert asked(server, "/v2/token", bearer("x.y.z")).status == 401


def test_a_right_password_is_remembered_and_a_wrong_one_beside_it_is_not_taken(
    server: RunningServer, person: Person
) -> None:
    for _ in range(2):
        assert asked(server, "/v2/", basic(person.name, person.password)).status == 200
        assert asked(server, "/v2/", basic(person.name, f"{person.password}x")).status == 401


def test_a_disabled_user_is_out_at_once(people: People) -> None:
    name, password = new_name(), "a password that was right"
    people.server.call("POST", "/users", {"name": name, "password": password})
    proof = basic(name, password)
    token = token_of(asked(people.server, "/v2/token", proof))
    people.server.call("PUT", f"/users/{name}", {"disabled": True})
    for headers in (proof, bearer(token)):
        assert asked(people.server, "/v2/", headers).status == 401
    assert asked(people.server, "/v2/token", proof).status == 401


def test_a_kind_of_grant_nobody_knows_is_refused(server: RunningServer) -> None:
    for fields in ({}, {"grant_type": "authorization_code", "code": "x"}):
        answer = posted(server, **fields)
        assert (answer.status, answer.json["errors"][0]["code"]) == (400, "UNSUPPORTED")


def test_no_token_or_password_is_told_back_or_logged(people: People, person: Person) -> None:
    secret = f"wrong{new_name()}"
    answer = asked(people.server, "/v2/token", basic(person.name, secret))
    assert secret.encode() not in answer.body
    token = new_user(people.server)
    Client(people.server, token, "x").ask("GET", "tags/list")
    log = people.server.log.read_text()
    assert secret not in log
    assert token not in log
    assert re.search(r"password of|a pass:word", log) is None
