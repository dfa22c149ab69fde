"""Steps that registry clients take, as measured or read in their source, and what they would stumble over."""

import re
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from tests.asking import Answer
from tests.images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Image,
    digest_of,
)
from tests.oci_accounts import Registry, basic

OCTETS = {"Content-Type": "application/octet-stream"}
ANY_MANIFEST = [("Accept", kind) for kind in (DOCKER_MANIFEST, DOCKER_LIST, OCI_INDEX, OCI_MANIFEST, "*/*")]


def challenge(answer: Answer) -> dict[str, str]:
    """Where a 401 says that tokens are to be had: one challenge, of an absolute realm on the same scheme and host."""
    assert answer.status == 401, answer
    (text,) = [value for name, value in answer.headers if name == "www-authenticate"]
    scheme, _, rest = text.partition(" ")
    assert scheme == "Bearer"
    assert len(re.findall("bearer|basic", text, re.IGNORECASE)) == 1
    found = dict(re.findall(r'(\w+)="([^"]*)"', rest))
    assert ",".join(f'{name}="{value}"' for name, value in found.items()) == rest
    assert found["service"] == "entrepot"
    assert not answer.body or answer.json["errors"][0]["code"] == "UNAUTHORIZED"
    return found


def realm_of(bare: Registry, answer: Answer) -> str:
    """Path of the realm. go-containerregistry refuses one that is relative, or http where the registry is https."""
    realm = challenge(answer)["realm"]
    assert realm.startswith(f"{bare.account.server.url}/"), realm
    return urlsplit(realm).path


def signed_in(bare: Registry, *scopes: str, proof: str | None = None) -> Registry:
    """The ping every client begins with, then a token by GET. The token says who it is, whatever was asked."""
    account = bare.account
    realm = realm_of(bare, bare.ask("GET", "/v2/"))
    query = urlencode([("scope", scope) for scope in scopes] + [("service", "entrepot")])
    sent = {"Authorization": proof or basic(account.access, account.secret)}
    found = bare.done(200, "GET", f"{realm}?{query}", headers=sent).json
    assert found["token"] == found["access_token"]
    assert len(found["token"]) < 64 << 10
    assert found["expires_in"] >= 60
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["issued_at"])
    return Registry(account, f"Bearer {found['token']}")


def location(registry: Registry, answer: Answer) -> str:
    """Path and query of where an answer points to: the same server. Clients refuse any other."""
    url = registry.account.server.url
    found = urljoin(url, answer["location"])
    assert found.startswith(f"{url}/v2/"), found
    return found.removeprefix(url)


def with_digest(target: str, data: bytes) -> str:
    """An upload's address with what closes it, behind the query it may have."""
    parts = urlsplit(target)
    return f"{parts.path}?{urlencode([*parse_qsl(parts.query), ('digest', digest_of(data))])}"


def pull(registry: Registry, repository: str, content: Image, reference: str) -> None:
    """A pull in the plainest order: HEAD, the manifest by digest, config, layers; all bytes as they were sent."""
    head = registry.done(200, "HEAD", f"/v2/{repository}/manifests/{reference}", headers=ANY_MANIFEST)
    assert (head["docker-content-digest"], head["content-type"]) == (content.digest, content.media_type)
    assert (head["content-length"], head.body) == (str(len(content.manifest)), b"")
    found = registry.done(200, "GET", f"/v2/{repository}/manifests/{content.digest}", headers=ANY_MANIFEST)
    assert found.body == content.manifest
    for data in content.blobs:
        came = registry.done(200, "GET", f"/v2/{repository}/blobs/{digest_of(data)}")
        assert (came.body, came["content-length"]) == (data, str(len(data)))


def crane_blob(registry: Registry, repository: str, data: bytes, source: str = "") -> bool:
    """Upload as go-containerregistry does; whether a mount spared it."""
    blob = f"/v2/{repository}/blobs/{digest_of(data)}"
    if registry.ask("HEAD", blob).status == 200:
        return True
    host = registry.account.address
    query = {"from": source, "mount": digest_of(data), "origin": host} if source else {}
    target = f"/v2/{repository}/blobs/uploads/" + (f"?{urlencode(query)}" if query else "")
    begun = registry.ask("POST", target, b"", {"Content-Type": "application/json"})
    if begun.status == 201:
        assert begun["docker-content-digest"] == digest_of(data)
        return True
    assert begun.status == 202, begun
    sent = registry.done(202, "PATCH", location(registry, begun), data, OCTETS)
    closed = registry.done(201, "PUT", with_digest(location(registry, sent), data), b"", OCTETS)
    assert location(registry, closed) == blob
    return False


def regctl_blob(registry: Registry, repository: str, data: bytes, piece: int = 0) -> str:
    """Upload as regclient does: "mount", "put" or "pieces" by what it took."""
    mounting = urlencode({"mount": digest_of(data)})
    begun = registry.ask("POST", f"/v2/{repository}/blobs/uploads/?{mounting}", b"")
    if begun.status == 201:
        return "mount"
    assert begun.status == 202, begun
    target = location(registry, begun)
    if not piece:
        registry.done(201, "PUT", with_digest(target, data), data, OCTETS)
        return "put"
    for start in range(0, len(data), piece):
        part = data[start : start + piece]
        sent = {**OCTETS, "Content-Range": f"{start}-{start + len(part) - 1}"}
        answer = registry.done(202, "PATCH", target, part, sent)
        assert answer["range"] == f"0-{start + len(part) - 1}"
        target = location(registry, answer)
    registry.done(201, "PUT", with_digest(target, data), b"", OCTETS)
    return "pieces"


def granted(bare: Registry, **form: str) -> Any:
    """The token service's answer to a form."""
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    return bare.done(200, "POST", "/v2/token", urlencode(form).encode(), kind).json
