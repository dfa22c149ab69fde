"""The requests of docker and containerd, which no package index has, one by one."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.asking import Answer, answer_of, connection
from tests.images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Image,
    digest_of,
    image,
    random_bytes,
    two_platforms,
)
from tests.oci_accounts import Registry, basic, new_password_user, new_repository
from tests.oci_replays import OCTETS, challenge, granted, location, pull, realm_of, signed_in, with_digest
from tests.s3_accounts import MIB, Account

SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


@pytest.fixture
def account(registry_account: Account) -> Account:
    return registry_account


@pytest.fixture
def bare(account: Account) -> Registry:
    """Requests without any proof."""
    return Registry(account, None)


@pytest.fixture
def repository(account: Account) -> str:
    return new_repository(account)


# --- docker ----------------------------------------------------------------------------------------------------------


def docker_push(registry: Registry, repository: str, content: Image, tag: str) -> None:
    """HEAD, POST, PATCH of unknown length, PUT, all layers at a time; then config, then manifest."""

    def upload(data: bytes) -> None:
        head = registry.ask("HEAD", f"/v2/{repository}/blobs/{digest_of(data)}")
        if head.status == 200:
            return
        assert head.status == 404
        begun = registry.done(202, "POST", f"/v2/{repository}/blobs/uploads/", b"")
        assert re.fullmatch(r"[0-9a-f-]{36}", begun["docker-upload-uuid"])
        pieces: Iterator[bytes] = (data[start : start + 32_768] for start in range(0, len(data), 32_768))
        sent = registry.done(202, "PATCH", location(registry, begun), pieces)
        assert sent["range"] == f"0-{len(data) - 1}"
        closed = registry.done(201, "PUT", with_digest(location(registry, sent), data), b"")
        assert closed["docker-content-digest"] == digest_of(data)

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(upload, content.layers))
    upload(content.config)
    put = registry.done(
        201, "PUT", f"/v2/{repository}/manifests/{tag}", content.manifest, {"Content-Type": content.media_type}
    )
    assert put["docker-content-digest"] == content.digest


def test_docker_logs_in_with_a_password_and_goes_on_with_its_refresh_token(bare: Registry, repository: str) -> None:
    name, password = new_password_user(bare.account)
    assert realm_of(bare, bare.ask("GET", "/v2/")) == "/v2/token"
    login = {"service": "entrepot", "client_id": "docker"}
    first = granted(bare, grant_type="password", username=name, password=password, access_type="offline", **login)
    assert Registry(bare.account, f"Bearer {first['access_token']}").done(200, "GET", "/v2/").json == {}
    scope = f"repository:{repository}:pull,push"
    again = granted(bare, grant_type="refresh_token", refresh_token=first["refresh_token"], scope=scope, **login)
    assert again["access_token"] != first["refresh_token"]
    registry = Registry(bare.account, f"Bearer {again['access_token']}")
    content = image("docker login", docker=True, size=1000)
    docker_push(registry, repository, content, "1")
    pull(registry, repository, content, "1")
    form = urlencode({"grant_type": "password", "username": name, "password": "wrong", **login}).encode()
    wrong = bare.ask("POST", "/v2/token", form, {"Content-Type": "application/x-www-form-urlencoded"})
    assert wrong.status == 401
    form = urlencode({"grant_type": "refresh_token", "refresh_token": "wrong", **login}).encode()
    wrong = bare.ask("POST", "/v2/token", form, {"Content-Type": "application/x-www-form-urlencoded"})
    assert wrong.status == 401


def test_a_login_without_offline_access_gets_no_refresh_token(bare: Registry) -> None:
    name, password = new_password_user(bare.account)
    found = granted(bare, grant_type="password", username=name, password=password, service="entrepot")
    assert "refresh_token" not in found
    assert found["access_token"] == found["token"]


def test_docker_gets_its_token_by_get_with_its_account(bare: Registry, repository: str) -> None:
    account = bare.account
    query = urlencode(
        [
            ("account", account.access), ("client_id", "docker"), ("offline_token", "true"), ("service", "entrepot"),
            ("scope", f"repository:{repository}:pull,push"),
        ]
    )  # fmt: skip
    proof = {"Authorization": basic(account.access, account.secret)}
    found = bare.done(200, "GET", f"/v2/token?{query}", headers=proof).json
    registry = Registry(account, f"Bearer {found['token']}")
    content = image("docker", docker=True, layers=6, size=200_000)
    docker_push(registry, repository, content, "latest")
    pull(registry, repository, content, "latest")
    docker_push(registry, repository, content, "latest")
    refreshed = granted(
        bare, grant_type="refresh_token", refresh_token=found["refresh_token"], service="entrepot", client_id="docker"
    )
    pull(Registry(account, f"Bearer {refreshed['access_token']}"), repository, content, "latest")


def test_docker_mounts_what_it_pushed_elsewhere_before(bare: Registry, repository: str) -> None:
    registry = signed_in(bare, f"repository:{repository}:pull,push")
    content, elsewhere = image("docker mounts", docker=True), new_repository(bare.account)
    docker_push(registry, repository, content, "1")
    for data in content.blobs:
        query = urlencode({"mount": digest_of(data), "from": repository})
        mounted = registry.done(201, "POST", f"/v2/{elsewhere}/blobs/uploads/?{query}", b"")
        assert location(registry, mounted) == f"/v2/{elsewhere}/blobs/{digest_of(data)}"
    docker_push(registry, elsewhere, content, "1")
    pull(registry, elsewhere, content, "1")


def test_docker_goes_on_with_a_pull_where_it_was_cut(bare: Registry, repository: str) -> None:
    registry = signed_in(bare, f"repository:{repository}:pull,push")
    content = image("docker resumes", docker=True, size=MIB)
    docker_push(registry, repository, content, "1")
    layer = content.layers[0]
    target = f"/v2/{repository}/blobs/{digest_of(layer)}"
    rest = registry.done(206, "GET", target, headers={"Range": "bytes=500000-"})
    assert rest.body == layer[500_000:]
    assert rest["content-range"] == f"bytes 500000-{len(layer) - 1}/{len(layer)}"


def test_all_requests_of_a_push_go_on_one_connection(bare: Registry, repository: str) -> None:
    account = bare.account
    data = random_bytes("one connection", 300_000)
    proof = {"Authorization": basic(account.access, account.secret)}
    with closing(connection(account.server.url, account.server.cafile)) as wire:

        def ask(method: str, target: str, body: Any = None, **more: Any) -> Answer:
            wire.request(method, target, body, {**proof, **more.pop("headers", {})}, **more)
            return answer_of(wire.getresponse())

        blob = f"/v2/{repository}/blobs/{digest_of(data)}"
        assert ask("HEAD", blob).status == 404
        target = ask("POST", f"/v2/{repository}/blobs/uploads/", b"")["location"]
        sent = ask("PATCH", target, iter([data[:1000], data[1000:]]), encode_chunked=True)
        assert sent.status == 202, sent
        assert ask("PATCH", target, b"late", headers={"Content-Range": "0-3"}).status == 416
        assert ask("PUT", with_digest(target, data), b"").status == 201
        assert ask("HEAD", blob)["content-length"] == str(len(data))
        assert ask("GET", blob).body == data
        assert ask("GET", f"/v2/{repository}/manifests/none").status == 404
        assert ask("GET", "/v2/").status == 200


# --- containerd ------------------------------------------------------------------------------------------------------


def test_containerd_resolves_with_many_accepts_and_fetches(bare: Registry, repository: str) -> None:
    content = two_platforms("containerd", docker=True)
    asked = [("Accept", kind) for kind in (DOCKER_LIST, DOCKER_MANIFEST, SCHEMA_1, OCI_INDEX, OCI_MANIFEST, "*/*")]
    where = f"/v2/{repository}/manifests/latest"
    scope = challenge(bare.ask("HEAD", f"{where}?ns=example.com", headers=asked))["scope"]
    found = granted(
        bare, grant_type="password", service="entrepot", client_id="containerd-client", scope=scope,
        username=bare.account.access, password=bare.account.secret,
    )  # fmt: skip
    registry = Registry(bare.account, f"Bearer {found['access_token']}")
    registry.push(repository, content, "latest")
    head = registry.done(200, "HEAD", f"{where}?ns=example.com", headers=asked)
    assert (head["content-type"], head["docker-content-digest"]) == (DOCKER_LIST, content.digest)
    assert head["content-length"] == str(len(content.manifest))
    for one in (content, *content.children):
        target = f"/v2/{repository}/manifests/{one.digest}?ns=example.com"
        got = registry.done(200, "GET", target, headers=[("Accept", one.media_type), ("Accept", "*/*")])
        assert (got.body, got["content-type"]) == (one.manifest, one.media_type)
        for data in one.blobs:
            target = f"/v2/{repository}/blobs/{digest_of(data)}?ns=example.com"
            assert registry.done(200, "GET", target, headers={"Accept": f"{OCI_CONFIG}, */*"}).body == data
            part = registry.done(206, "GET", target, headers={"Range": "bytes=0-"})
            assert part.body == data


def test_containerd_pushes_with_one_put_for_each_blob(bare: Registry, repository: str) -> None:
    registry = signed_in(bare, f"repository:{repository}:pull,push")
    content = image("containerd push", size=MIB)
    where = f"/v2/{repository}/manifests/1"
    for data in content.blobs:
        registry.done(404, "HEAD", f"/v2/{repository}/blobs/{digest_of(data)}", headers={"Accept": "*/*"})
        begun = registry.done(202, "POST", f"/v2/{repository}/blobs/uploads/", b"")
        pieces = (data[start : start + MIB // 3] for start in range(0, len(data), MIB // 3))
        registry.done(201, "PUT", with_digest(location(registry, begun), data), pieces, OCTETS)
    registry.done(404, "HEAD", where, headers={"Accept": f"{OCI_MANIFEST}, */*"})
    registry.done(201, "PUT", where, content.manifest, {"Content-Type": OCI_MANIFEST})
    pull(registry, repository, content, "1")
    by_digest = f"/v2/{repository}/manifests/{content.digest}"
    assert registry.ask("HEAD", by_digest, headers={"Accept": f"{OCI_MANIFEST}, */*"}).status == 200
