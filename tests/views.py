"""Repositories to look at through the Singularity views, and plain requests for what is seen there."""

import json
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from tests.asking import Answer, ask
from tests.image_sets import DataSet, Made, push
from tests.protocols.rights import signed
from tests.registry import Client
from tests.running import RunningServer
from tests.sifs import sif

SIF_LAYER = "application/vnd.sylabs.sif.layer.v1.sif"
SIF_CONFIG = "application/vnd.sylabs.sif.config.v1+json"
SQUASHFS = "application/vnd.singularity.image.squashfs"
TITLE = "org.opencontainers.image.title"
SOURCE = "org.opencontainers.image.source"
REVISION = "org.opencontainers.image.revision"
HTML = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}


def new_sif(**more: Any) -> bytes:
    """A SIF nobody else has."""
    return sif(labels={"id": secrets.token_hex(8), **more.pop("labels", {})}, **more)


def push_file(
    client: Client,
    content: bytes,
    *tags: str,
    kind: str = SIF_LAYER,
    title: str = "image.sif",
    config: bytes = b"{}",
    annotations: Mapping[str, str] | None = None,
) -> Made:
    """An image of that one file, as `apptainer push` makes it."""
    made = DataSet()
    said: dict[str, Any] = {"annotations": dict(annotations)} if annotations else {}
    titled: dict[str, Any] = {"annotations": {TITLE: title}} if title else {}
    layer = made.blob(kind, content, **titled)
    found = made.image([layer], made.blob(SIF_CONFIG, config), tags or ("latest",), **said)
    push(client, made)
    return found


def publish(client: Client, *, public: bool = True) -> None:
    """Anybody may read that repository; its client is a maintainer's."""
    client.server.call("PUT", f"/repositories/{client.name}", {"public": public}, token=client.token)


def put_by_s3(client: Client, key: str, content: bytes) -> str:
    """Name of a new bucket of the client's project, which has it under that key; S3 put it, so its md5 is known."""
    project, bucket = client.name.partition("/")[0], f"bucket-{secrets.token_hex(4)}"
    made = client.server.call("POST", "/keys", {"project": project}, token=client.token)
    for path, body in ((f"/{bucket}", b""), (f"/{bucket}/{key}", content)):
        answer = signed((made["access"], made["secret"]), "PUT", f"{client.server.url}{path}", body)
        assert answer.status == 200, answer
    return bucket


def see(
    server: RunningServer,
    path: str,
    token: str | None = None,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """The answer at that path, or URL; nothing in it is followed."""
    proof = {"Authorization": f"Bearer {token}"} if token else {}
    url = path if path.startswith("http") else server.url + path
    return ask(url, method, body, {**proof, **(headers or {})}, cafile=server.cafile)


def seen(client: Client, path: str, status: int = 200, **more: Any) -> Answer:
    """The answer to that client, with its status; `path` begins behind the name of its repository."""
    whole = path if path.startswith("/") else f"/registry/{client.name}/{path}"
    found = see(client.server, whole, client.token, **more)
    assert found.status == status, (whole, found)
    return found


def manifest_of(client: Client, reference: str = "latest", query: str = "") -> dict[str, Any]:
    """The seed's manifest."""
    found: dict[str, Any] = seen(client, f"manifests/{reference}{query}").json
    return found


def only_url(client: Client, reference: str = "latest") -> str:
    """Of the only file."""
    (layer,) = manifest_of(client, reference)["layers"]
    (url,) = layer["urls"]
    assert isinstance(url, str)
    return url


def path_of(url: str) -> str:
    """Path and query."""
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def code_of(answer: Answer) -> str:
    """Of the only error at `/registry/`."""
    (error,) = answer.json["errors"]
    assert error.keys() == {"code", "message", "detail"}
    assert error["message"]
    code: str = error["code"]
    return code


def told_as_404(answer: Answer) -> None:
    """Shub and the library say no more than that."""
    assert answer.status == 404, answer
    body = json.loads(answer.body)
    assert answer["content-type"] == "application/json"
    assert body.keys() == {"error"}
    assert body["error"]["code"] == 404
    assert body["error"]["message"]
