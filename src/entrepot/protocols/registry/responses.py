"""Answers and errors of the Singularity views: JSON of the seed, of shub and of the library, and pages for people."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from jinja2 import Environment, PackageLoader, select_autoescape

from entrepot.catalog.manifests import Manifest
from entrepot.errors import (
    BadDigest,
    BadName,
    BadRange,
    Busy,
    Conflict,
    Denied,
    DigestMismatch,
    DiskFull,
    EntrepotError,
    LimitReached,
    NoBlob,
    NoManifest,
    NotFound,
    Refused,
    Unauthenticated,
    Unavailable,
    UsageError,
)
from entrepot.formats.image_manifest import OCI_INDEX
from entrepot.model import Algorithm, NamedDigest, utc_text
from entrepot.protocols.base import ErrorTable, Header, MethodNotAllowed, Response, refusal_headers, row_of
from entrepot.protocols.browser import SHIELD
from entrepot.protocols.registry.calls import Page
from entrepot.services.repositories import descriptor_of
from entrepot.services.static_trees import Pages
from entrepot.services.views import File, View

MANIFEST_TYPE: Final = "application/vnd.singularity.distribution.manifest.v2+json"
CONFIG_TYPE: Final = "application/vnd.singularity.container.image.v1+json"
_NO_STORE: Final[Header] = (b"cache-control", b"no-store")
_STYLED: Final[Header] = (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'")

ERRORS: Final[ErrorTable] = {
    Unauthenticated: (401, "UNAUTHORIZED"),
    Denied: (403, "DENIED"),
    NoManifest: (404, "MANIFEST_UNKNOWN"),
    NoBlob: (404, "BLOB_UNKNOWN"),
    NotFound: (404, "NAME_UNKNOWN"),
    BadDigest: (400, "DIGEST_INVALID"),
    BadName: (400, "NAME_INVALID"),
    DigestMismatch: (400, "DIGEST_INVALID"),
    BadRange: (416, "SIZE_INVALID"),
    UsageError: (400, "UNSUPPORTED"),
    MethodNotAllowed: (405, "UNSUPPORTED"),
    DiskFull: (507, "DENIED"),
    LimitReached: (413, "DENIED"),
    Conflict: (409, "DENIED"),
    Busy: (429, "TOOMANYREQUESTS"),
    Unavailable: (429, "TOOMANYREQUESTS"),
    Refused: (400, "UNSUPPORTED"),
    EntrepotError: (500, "UNKNOWN"),
}
MOST_LABELS: Final = 100
MOST_TEXT: Final = 1024
"""Labels of a tag on its page, and characters of each."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,200}\Z")
_HIDDEN: Final = (401, 403, 400)
"""What a client of shub or the library is told as 404: it knows nothing else."""


def refused(error: EntrepotError, call: object, *, for_people: bool) -> Response:
    """The error in the format of the view that was asked."""
    status, code = row_of(ERRORS, error)
    headers = [_NO_STORE, *refusal_headers(error)]
    if not isinstance(call, Page):
        status = 404 if status in _HIDDEN else status
        body: dict[str, Any] = {"error": {"code": status, "message": str(error)}}
        return Response(status, [*headers, (b"content-type", b"application/json"), *SHIELD], msgspec.json.encode(body))
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="entrepot"'))
    if for_people:
        return page(status, "refused.html", {"status": status, "what": error.what, "rest": error}, headers)
    body = {"errors": [{"code": code, "message": str(error), "detail": {}}]}
    return Response(status, [*headers, (b"content-type", b"application/json"), *SHIELD], msgspec.json.encode(body))


def refused_push() -> Response:
    """403: a push by the ways of old; clients print the reason."""
    message = "push by OCI: this library makes what a push needs by itself; use a client of 2022 or later"
    body = {"error": {"code": 403, "message": message}}
    return Response(403, [(b"content-type", b"application/json"), *SHIELD], msgspec.json.encode(body))


def told(value: object) -> Response:
    """`value` as JSON."""
    headers = [(b"content-type", b"application/json"), _NO_STORE, *SHIELD]
    return Response(200, headers, msgspec.json.encode(value))


def page(status: int, template: str, values: dict[str, Any], headers: Sequence[Header] = ()) -> Response:
    """A page for people, complete without JavaScript."""
    shield = [header for header in SHIELD if header[0] != _STYLED[0]]
    kind: Header = (b"content-type", b"text/html; charset=utf-8")
    text = _pages().get_template(template).render(values)
    return Response(status, [kind, _NO_STORE, *shield, _STYLED, *headers], text.encode())


@cache
def _pages() -> Environment:
    return Environment(
        loader=PackageLoader("entrepot.protocols.registry", "pages"), autoescape=select_autoescape(), trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip


def manifest(view: View, urls: Sequence[str]) -> dict[str, Any]:
    """The seed's manifest: its keys in its order, with sha256 digests and sizes in bytes."""
    layers: list[dict[str, Any]] = []
    for file, url in zip(view.files, urls, strict=True):
        layer: dict[str, Any] = {
            "mediaType": file.media_type, "size": file.blob.size, "digest": str(file.blob.digest), "urls": [url],
        }  # fmt: skip
        md5 = file.blob.checksums.get(Algorithm.MD5)
        if md5:
            layer["annotations"] = {"md5": md5}
        layers.append(layer)
    config = {"mediaType": CONFIG_TYPE, "size": view.config.size, "digest": str(view.config.digest)}
    return {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers}


def container(view: View, name: str, tag: str, url: str) -> dict[str, str]:
    """What shub:// pulls; `commit` is its key in the client's cache, so it is of the bytes."""
    hex_ = view.files[0].blob.digest.hex
    return {"image": url, "name": name, "tag": tag, "version": hex_, "commit": hex_}


def services(base: str, keyserver: str) -> dict[str, object]:
    """Where a remote has its parts."""
    return {"libraryAPI": {"uri": base}, "tokenAPI": {"uri": base}, "keystoreAPI": {"uri": keyserver}}


def image(view: View, tags: Sequence[str]) -> dict[str, Any]:
    """An image as the library's clients read it."""
    file = view.files[0]
    parts = view.name.split("/")
    return {
        "id": file.blob.digest.hex[:24], "hash": f"sha256.{file.blob.digest.hex}", "size": file.blob.size,
        "uploaded": True, "arch": view.architecture, "signed": bool(view.content.sif and view.content.sif.signed),
        "encrypted": bool(view.content.sif and view.content.sif.encrypted), "tags": list(tags),
        "fingerprints": list(view.content.sif.fingerprints) if view.content.sif else [],
        "entityName": parts[0], "collectionName": "/".join(parts[1:-1]), "containerName": parts[-1],
        "createdAt": _time(view.created),
    }  # fmt: skip


def _time(text: str) -> str:
    """RFC 3339 of a time that somebody wrote; the first second there is if it cannot be read."""
    try:
        found = datetime.fromisoformat(text)
        return utc_text((found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).timestamp())
    except (ValueError, OverflowError):
        return utc_text(0)


def shown(view: View, urls: Sequence[str], base: str) -> dict[str, Any]:
    """A tag on its collection's page."""
    sif = view.content.sif
    plain = f"{base.partition('://')[2]}/{view.registry_name}"
    return {
        "tag": view.reference,
        "digest": str(view.digest),
        "type": view.media_type,
        "size": view.size,
        "architecture": view.architecture,
        "created": view.created,
        "labels": {name[:MOST_TEXT]: text[:MOST_TEXT] for name, text in islice(view.labels.items(), MOST_LABELS)},
        "sif": view.is_sif,
        "signed": bool(sif and sif.signed),
        "encrypted": bool(sif and sif.encrypted),
        "fingerprints": list(sif.fingerprints) if sif else [],
        "definition": f"{base}/registry/{view.name}/manifests/{view.reference}/Singularity"
        if sif and sif.definition is not None
        else None,
        "files": [
            {"digest": str(file.blob.digest), "size": file.blob.size, "title": file.title[:MOST_TEXT], "url": url}
            for file, url in zip(view.files, urls, strict=False)  # of many, the first
        ],
        "commands": _commands(view, urls, plain),
    }


def _commands(view: View, urls: Sequence[str], plain: str) -> list[str]:
    """Lines to copy."""
    tag = view.reference if view.registry_name == view.name else "latest"
    host, place = plain.partition("/")[0], f"{plain}:{tag}"
    if view.is_container:
        return [f"docker pull {place}", f"skopeo copy docker://{place} oci:DIR"]
    lines = [f"apptainer pull oras://{place}"] if view.is_sif else [f"oras pull {place}"]
    is_public = all("?" not in url for url in urls)
    if view.is_singularity and is_public and ":" not in host and view.name.count("/") == 1:  # shub:// takes no port
        lines.append(f"apptainer pull shub://{place}")
    for file, url in zip(view.files, urls, strict=False):
        name = _file_name(file, view)
        lines += [f"curl -fo {name} '{url}'", f"echo '{file.blob.digest.hex}  {name}' | sha256sum -c"]
    return lines


def _file_name(file: File, view: View) -> str:
    """What a shell can call it without quotes."""
    title = file.title.rpartition("/")[2]
    if _PLAIN.match(title):
        return title
    last = view.name.rpartition("/")[2]
    if not _PLAIN.match(last):
        last = file.blob.digest.hex
    return f"{last}.sif" if view.is_sif and not last.endswith(".sif") else last


def pages_at(base: str) -> Pages:
    """How pages are written for a tree of files at that URL."""

    def collection(name: str, views: Sequence[tuple[View, Sequence[str]]]) -> str:
        tags = [shown(view, urls, base) for view, urls in views]
        return _pages().get_template("collection.html").render(name=name, tags=tags, next=None, root=_root(base))

    def referrers(found: Sequence[Manifest]) -> str:
        shown_ = [descriptor_of(one) for one in found]
        return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": shown_})

    return Pages(
        lambda view, urls: json.dumps(manifest(view, urls)),
        collection,
        lambda name, tags: json.dumps({"name": name, "tags": list(tags)}),
        referrers,
    )


def _root(base: str) -> str:
    """The path of the tree on its host."""
    return urlsplit(base).path.rstrip("/")


def digest_of(reference: str) -> NamedDigest | None:
    """The digest a tag of the library stands for: `sha256.<hex>`."""
    kind, _, hex_ = reference.partition(".")
    if kind != "sha256" or len(hex_) != 64:
        return None
    return NamedDigest.parse(f"sha256:{hex_}")
