"""Lists: objects v1 and v2, versions, buckets. Keyset pages in the order of UTF-8 bytes, keys and prefixes as one."""

import base64
import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

from entrepot.auth.grants import canonical_id
from entrepot.model import CommonPrefix, Page, StoredObject
from entrepot.principals import Action, Principal
from entrepot.protocols.base import MethodNotAllowed, Request, Response
from entrepot.protocols.browser import SHIELD
from entrepot.protocols.s3 import responses, xml
from entrepot.protocols.s3.calls import Call, name_of
from entrepot.protocols.s3.errors import S3Error, invalid_argument
from entrepot.protocols.s3.objects import iso, quoted, version_of
from entrepot.protocols.s3.proofs import Proven
from entrepot.services.buckets import Buckets
from entrepot.services.objects import Objects
from entrepot.services.places import VIRTUAL

MAX_KEYS: Final = 1000
MAX_BUCKETS: Final = 10_000
HEAD_BUCKET: Final = ((b"x-amz-bucket-region", b"us-east-1"), (b"content-type", b"application/xml"))


@dataclass(frozen=True, slots=True)
class ListCalls:
    """What is listed."""

    objects: Objects
    buckets: Buckets

    async def list_buckets(self, call: Call, principal: Principal, request: Request) -> Response:
        """GET /. Raises: MethodNotAllowed for anything else."""
        if request.method != "GET":
            raise MethodNotAllowed("GET")
        query = call.query
        most = responses.count_of(query.get("max-buckets"), MAX_BUCKETS, "max-buckets", MAX_BUCKETS)
        after, prefix = _token(query.get("continuation-token", "")), query.get("prefix", "")
        found = await self.buckets.mine(principal)
        rest = [bucket for bucket in found if bucket.name.startswith(prefix) and bucket.name > after]
        shown = rest[:most]
        result = xml.document(
            "ListAllMyBucketsResult",
            owner_item(principal.project, "Owner"),
            ("Buckets", *(("Bucket", ("Name", one.name), ("CreationDate", iso(one.created_at))) for one in shown)),
            ("ContinuationToken", _as_token(shown[-1].name)) if len(rest) > most and shown else None,
            ("Prefix", prefix) if "prefix" in query else None,
        )
        return responses.xml_response(request, result)

    async def list_objects(self, call: Call, principal: Principal, request: Request, proven: Proven) -> Response:
        """GET /b, both versions of the list; a page of links for a browser without a proof."""
        query = call.query
        newer = query.get("list-type") == "2"
        if "list-type" in query and not newer:
            raise invalid_argument("Invalid list type")
        most, prefix, delimiter, shape = _common(query)
        marker = query.get("marker", "")
        if newer:
            marker = (
                _token(query["continuation-token"]) if query.get("continuation-token") else query.get("start-after", "")
            )
        name = name_of(call)
        page = await self.objects.names.page(
            principal, name, prefix=prefix, after=marker, limit=most, delimiter=delimiter
        )
        wants_page = "text/html" in (request.header(b"accept") or "") and not proven.signed and "list-type" not in query
        if wants_page:
            return _links(call.bucket, page, query, request)
        owned = not newer or query.get("fetch-owner") == "true"
        contents = (
            _contents(item, shape, owned)
            if isinstance(item, StoredObject)
            else ("CommonPrefixes", ("Prefix", shape(item.prefix)))
            for item in page.items
        )
        count = len(page.items)
        head: list[xml.Item | None] = [("Name", call.bucket), ("Prefix", shape(prefix))]
        if newer:
            token = query.get("continuation-token")
            head += [
                ("ContinuationToken", token) if token is not None else None,
                ("NextContinuationToken", _as_token(page.next)) if page.next and most else None,
                ("KeyCount", count),
                ("StartAfter", shape(query["start-after"])) if "start-after" in query else None,
            ]
        else:
            head += [
                ("Marker", shape(marker)),
                ("NextMarker", shape(page.next)) if page.next and delimiter and most else None,
            ]
        result = xml.document(
            "ListBucketResult", *head, ("MaxKeys", most),
            ("Delimiter", shape(delimiter)) if delimiter else None,
            ("EncodingType", "url") if query.get("encoding-type") else None,
            ("IsTruncated", xml.boolean(bool(page.next) and most > 0)), *contents,
        )  # fmt: skip
        return responses.xml_response(request, result)

    async def list_versions(self, call: Call, principal: Principal, request: Request) -> Response:
        """GET /b?versions."""
        query = call.query
        most, prefix, delimiter, shape = _common(query)
        key, text = query.get("key-marker", ""), query.get("version-id-marker", "")
        if text and "key-marker" not in query:
            message = "A version-id marker cannot be specified without a key marker."
            raise invalid_argument(message, "version-id-marker", text)
        version = version_of(query, "version-id-marker") if text else None
        page = await self.objects.names.list_versions(
            principal, name_of(call), prefix=prefix, after=key, after_version=version, limit=most, delimiter=delimiter
        )
        items: list[xml.Item] = []
        for item, latest in page.items:
            if isinstance(item, CommonPrefix):
                items.append(("CommonPrefixes", ("Prefix", shape(item.prefix))))
                continue
            facts: tuple[xml.Item, ...] = (
                ("Key", shape(item.key)), ("VersionId", item.version_id or "null"), ("IsLatest", xml.boolean(latest)),
                ("LastModified", iso(item.created_at)), owner_item(item.owner, "Owner"),
            )  # fmt: skip
            if item.marker:
                items.append(("DeleteMarker", *facts))
            else:
                items.append(
                    (
                        "Version",
                        *facts,
                        ("ETag", quoted(item.etag)),
                        ("Size", item.size),
                        ("StorageClass", "STANDARD"),
                        *_algorithm(item),
                    )
                )
        result = xml.document(
            "ListVersionsResult", ("Name", call.bucket), ("Prefix", shape(prefix)), ("KeyMarker", shape(key)),
            ("VersionIdMarker", text),
            ("NextKeyMarker", shape(page.next)) if page.next else None,
            ("NextVersionIdMarker", page.next_version) if page.next and page.next_version else None,
            ("MaxKeys", most), ("Delimiter", shape(delimiter)) if delimiter else None,
            ("EncodingType", "url") if query.get("encoding-type") else None,
            ("IsTruncated", xml.boolean(page.next is not None)), *items,
        )  # fmt: skip
        return responses.xml_response(request, result)

    async def head_bucket(self, call: Call, principal: Principal, request: Request) -> Response:
        """HEAD /b."""
        if call.bucket not in VIRTUAL:
            await self.buckets.find(principal, name_of(call), Action.LIST)
        return Response(200, [*responses.with_id(request), *HEAD_BUCKET])


def owner_item(project: str, name: str) -> xml.Item:
    """A project as the owner of something."""
    return (name, ("ID", canonical_id(project)), ("DisplayName", project))


_PLAIN: Final = re.compile(r"[A-Za-z0-9/*._~-]*\Z")


class Shape:
    """Keys as the client wants them: plain, or percent-encoded."""

    def __init__(self, encoded: bool) -> None:
        self._encoded = encoded

    def __call__(self, text: str) -> str:
        """The key as it is written."""
        return text if not self._encoded or _PLAIN.match(text) else quote(text, safe="/*-._~")


def _common(query: Mapping[str, str]) -> tuple[int, str, str, Shape]:
    """How many, prefix, delimiter, and how keys are written. Raises: S3Error."""
    encoding = query.get("encoding-type", "")
    if encoding not in ("", "url"):
        raise invalid_argument("Invalid Encoding Method specified in Request")
    most = responses.count_of(query.get("max-keys"), MAX_KEYS, "max-keys", MAX_KEYS)
    return most, query.get("prefix", ""), query.get("delimiter", ""), Shape(bool(encoding))


def _contents(item: StoredObject, shape: Shape, owned: bool) -> xml.Written:
    known = item.extra.get("checksum")
    algorithm = (
        f"<ChecksumAlgorithm>{known['algorithm']}</ChecksumAlgorithm><ChecksumType>{known['type']}</ChecksumType>"
        if known
        else ""
    )
    owner = (
        f"<Owner><ID>{canonical_id(item.owner)}</ID><DisplayName>{item.owner}</DisplayName></Owner>" if owned else ""
    )
    return xml.Written(
        f"<Contents><Key>{xml.text(shape(item.key))}</Key><LastModified>{iso(item.created_at)}</LastModified>"
        f"<ETag>{quoted(item.etag)}</ETag>{algorithm}<Size>{item.size}</Size>"
        f"<StorageClass>STANDARD</StorageClass>{owner}</Contents>"
    )


def _algorithm(item: StoredObject) -> list[xml.Item]:
    known = item.extra.get("checksum")
    return [("ChecksumAlgorithm", known["algorithm"]), ("ChecksumType", known["type"])] if known else []


def _as_token(marker: str) -> str:
    return base64.urlsafe_b64encode(marker.encode()).decode()


def _token(text: str) -> str:
    """The marker a token stands for. Raises: S3Error for a token of somebody else."""
    try:
        found = base64.b64decode(text, altchars=b"-_", validate=True).decode()
    except ValueError as error:
        raise _foreign(text) from error
    if "\0" in found:
        raise _foreign(text)
    return found


def _foreign(token: str) -> S3Error:
    return invalid_argument("The continuation token provided is incorrect", "continuation-token", token)


def _links(bucket: str, page: Page, query: Mapping[str, str], request: Request) -> Response:
    """The page of a public bucket as a browser shows it."""
    shown = html.escape(f"{bucket}/{query.get('prefix', '')}")
    rows = "".join(
        f'<li><a href="/{quote(bucket)}/{quote(item.key)}">{html.escape(item.key)}</a> {item.size} bytes</li>\n'
        if isinstance(item, StoredObject)
        else f'<li><a href="{_address(bucket, query, prefix=item.prefix)}">{html.escape(item.prefix)}</a></li>\n'
        for item in page.items
    )
    more = f'<p><a href="{_address(bucket, query, marker=page.next)}">more</a></p>' if page.next else ""
    text = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{shown}</title></head>\n'
        f"<body><h1>{shown}</h1>\n<ul>\n{rows}</ul>{more}</body></html>\n"
    )
    return Response(
        200, [*responses.with_id(request), (b"content-type", b"text/html; charset=utf-8"), *SHIELD], text.encode()
    )


def _address(bucket: str, query: Mapping[str, str], **changed: str) -> str:
    """Another page of the same list, as an attribute has it."""
    kept = {name: query[name] for name in ("prefix", "delimiter", "max-keys") if name in query}
    return html.escape(f"/{quote(bucket)}?{urlencode({**kept, **changed}, quote_via=quote)}")
