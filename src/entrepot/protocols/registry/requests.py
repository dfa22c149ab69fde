"""How calls of the Singularity views are written. Pure: request line in, a call out. Read from the end of the path."""

import re
from typing import Final

from entrepot.protocols.base import MethodNotAllowed, NoSuchRoute, segments
from entrepot.protocols.registry.calls import (
    AskRedirect,
    Call,
    CheckToken,
    GetFile,
    GetImageFile,
    ListCollections,
    ListTags,
    Search,
    ShowCollection,
    ShowContainer,
    ShowDefinition,
    ShowImage,
    ShowManifest,
    ShowNothing,
    ShowServices,
)

PATH: Final = re.compile(
    rb"/registry(?:/|\Z)|/api/container/|/assets/config/config\.prod\.json\Z"
    rb"|/v1/(?:oci-redirect|images|imagefile|search|token-status|entities|collections|containers|tags)(?:/|\Z)"
)
"""Paths these views answer."""
LATEST: Final = "latest"
_FILE: Final = re.compile(r"([0-9a-f]{64})(?:\.[A-Za-z0-9]{1,10})?\Z")
_ID: Final = re.compile(r"[0-9a-f]{32}(?:[0-9a-f]{8})?\Z")


def parse(method: str, raw_path: bytes) -> Call:
    """The call these bytes mean. Raises: NoSuchRoute; MethodNotAllowed; BadName."""
    parts = segments(raw_path)
    if any(part == ".." or "/" in part for part in parts):
        raise NoSuchRoute("there is nothing at this path")
    call = _registry(parts[1:]) if parts[0] == "registry" else _library(parts, method)
    if method not in ("GET", "HEAD") and not isinstance(call, ShowNothing):
        raise MethodNotAllowed("GET, HEAD")
    return call


def _registry(parts: list[str]) -> Call:
    """What lies at `/registry/`, with or without a slash at its end."""
    if parts and parts[-1] == "":
        parts = parts[:-1]
    match parts:
        case []:
            return ListCollections()
        case ["files", *_, last] if found := _FILE.match(last):
            return GetFile(found[1], last)
        case ["files", *_]:
            raise NoSuchRoute("there is no such file")
        case [*name, "tags"] if name:
            return ListTags("/".join(name))
        case [*name, "manifests", reference, "Singularity"] if name:
            return ShowDefinition("/".join(name), reference)
        case [*name, "manifests", reference] if name:
            return ShowManifest("/".join(name), reference)
        case name:
            return ShowCollection("/".join(name))


def _library(parts: list[str], method: str) -> Call:
    match parts:
        case ["api", "container", user, last]:
            return _container(user, last)
        case ["assets", *_]:
            return ShowServices()
        case ["v1", "token-status"]:
            return CheckToken()
        case ["v1", "oci-redirect"]:
            return AskRedirect()
        case ["v1", "search"]:
            return Search()
        case ["v1", "images", *rest] if any(rest):
            return ShowImage(*_tagged("/".join(rest)))
        case ["v1", "imagefile", *rest] if any(rest):
            return GetImageFile(*_tagged("/".join(rest)))
        case ["v1", ("entities" | "collections" | "containers" | "tags"), *_]:
            if method not in ("GET", "HEAD", "POST"):
                raise MethodNotAllowed("GET, HEAD, POST")
            return ShowNothing(method == "POST")
        case _:
            raise NoSuchRoute("there is nothing at this path")


def _container(user: str, last: str) -> ShowContainer:
    rest, mark, id_ = last.partition("@")
    name, _, tag = rest.partition(":")
    if mark and not _ID.match(id_):
        raise NoSuchRoute("there is no such container")
    return ShowContainer(f"{user}/{name}".lower(), tag or LATEST, id_)


def _tagged(text: str) -> tuple[str, str]:
    name, _, tag = text.strip("/").partition(":")
    return name, tag or LATEST
