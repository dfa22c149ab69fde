"""Calls on one object: its bytes in and out, copies, deletion, attributes, and what is kept beside the bytes."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from entrepot.errors import BadName, DigestMismatch, MarkerAsked, NotFound
from entrepot.model import ALWAYS, Algorithm, Blob, Clock, Condition, Facts, ObjectName, Span, StoredObject, VersionId
from entrepot.principals import Principal
from entrepot.protocols.base import Header, Request, Response
from entrepot.protocols.browser import SHIELD, disposition
from entrepot.protocols.delivery import Representation, deliver, http_date, http_time, names_etag
from entrepot.protocols.s3 import claims, heads, responses, tagging, xml
from entrepot.protocols.s3.calls import Call, name_of, named
from entrepot.protocols.s3.claims import Sent
from entrepot.protocols.s3.errors import S3Error, invalid_argument, invalid_request
from entrepot.protocols.s3.proofs import Proven
from entrepot.services.objects import Objects
from entrepot.services.places import AREAS_BUCKET, DIGESTS

MAX_PUT_BYTES: Final = 5 << 30
MAX_PARTS: Final = 10_000
Asked = Callable[[Call, Principal, Proven, Facts], Awaitable[Facts]]
"""Adds the grants and locks the headers of a write ask for."""


def version_of(query: Mapping[str, str], name: str = "versionId") -> VersionId | None:
    """The version a query asks for. Raises: S3Error."""
    if name not in query:
        return None
    try:
        return VersionId.parse(query[name])
    except BadName as error:
        raise invalid_argument("Invalid version id specified") from error


@dataclass(frozen=True, slots=True)
class ObjectCalls:
    """What is done with single objects."""

    objects: Objects
    now: Clock

    async def get(self, call: Call, principal: Principal, request: Request, proven: Proven) -> Response:
        """GET, HEAD."""
        stored, blob = await self.objects.find(principal, name_of(call), version_of(call.query))
        if stored.bucket == DIGESTS and request.method == "HEAD":
            await self.objects.tell(principal, stored.digest)  # whoever is told they are here finds them here
        told = proven.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED"
        part, headers = await self._part(call, request, stored, blob, told=told)
        what = Representation(stored.size, stored.etag, stored.created_at)
        shown = heads.shown(stored, call.query, signed=proven.signed)
        whole = heads.checksum_headers(stored, blob, whole=True) if told else ()
        if not proven.in_header:
            shown = _for_browsers(shown, stored, call.query)
        return await deliver(
            request, blob, what, self.objects.keeping.open, [*responses.with_id(request), *shown, *headers],
            part=part, whole=whole,
        )  # fmt: skip

    async def _part(
        self, call: Call, request: Request, stored: StoredObject, blob: Blob, *, told: bool
    ) -> tuple[Span | None, list[Header]]:
        """The bytes of the part that is asked for, how many there are, and if it is to be `told` its checksum."""
        if "partNumber" not in call.query:
            return None, []
        if request.header(b"range") is not None:
            raise invalid_request("Cannot specify both Range header and partNumber query parameter")
        number = part_number(call.query["partNumber"])
        parts = await self.objects.parts(stored)
        if number > max(1, len(parts)):
            raise S3Error("InvalidPartNumber", "The requested partnumber is not satisfiable")
        if not parts:
            return Span(0, blob.size) if blob.size else None, []
        one = parts[number - 1]
        sums = heads.part_checksum_headers(stored, one.checksum) if told else []
        return Span(one.start, one.start + one.size), [(b"x-amz-mp-parts-count", str(len(parts)).encode()), *sums]

    async def put(self, call: Call, principal: Principal, request: Request, proven: Proven, asked: Asked) -> Response:
        """PUT."""
        sent = proven.sent(request, self.objects.blobs.run_hash).held_to(MAX_PUT_BYTES)
        facts = await asked(call, principal, proven, facts_of(proven.headers, sent.algorithm))
        stored, blob = await self.store(principal, name_of(call), sent, facts, condition_of(proven.headers), request)
        status = 201 if stored.bucket == AREAS_BUCKET and proven.in_query else 200
        return Response(status, [*responses.with_id(request), *put_headers(stored, blob)])

    async def store(
        self, principal: Principal, name: ObjectName, sent: Sent, facts: Facts, condition: Condition, request: Request
    ) -> tuple[StoredObject, Blob]:
        """The object, put; without its body if the client waits for a word and the bytes are here."""
        try:
            if request.header(b"expect") is not None and sent.claims.checksums:
                want = sent.want if sent.given else frozenset({Algorithm.MD5})
                known = await self.objects.put_known(principal, name, sent.claims, facts, condition, want)
                if known:
                    return known
            return await self.objects.put(principal, name, sent.body, sent.claims, facts, condition, sent.want)
        except DigestMismatch as error:
            raise claims.told(error, sent) from error

    async def copy(self, call: Call, principal: Principal, request: Request, proven: Proven, asked: Asked) -> Response:
        """PUT with x-amz-copy-source."""
        headers = proven.headers
        source, version = copy_source(headers)
        target = name_of(call)
        directives = [headers.get(f"x-amz-{what}-directive", "COPY").upper() for what in ("metadata", "tagging")]
        if not {*directives} <= {"COPY", "REPLACE"}:
            raise invalid_argument("Unknown metadata directive.")
        itself = (source.bucket, source.key) == (call.bucket, call.key) and version is None
        if itself and directives == ["COPY", "COPY"] and "x-amz-storage-class" not in headers:
            raise invalid_request(
                "This copy request is illegal because it is trying to copy an object to itself without changing the "
                "object's metadata, storage class, website redirect location or encryption attributes."
            )

        rights = (await asked(call, principal, proven, Facts())).extra

        def facts(old: StoredObject, blob: Blob) -> Facts:
            check_source(headers, old)
            carried = copied_facts(headers, old, *(directive == "REPLACE" for directive in directives))
            return replace(carried, extra={**carried.extra, **rights})

        with copying(source):
            old, stored, blob = await self.objects.copy(
                principal, source, version, target, facts, condition_of(headers)
            )
        answer = [*responses.with_id(request), *made_header(stored)]
        if old.version_id:
            answer.append((b"x-amz-copy-source-version-id", old.version_id.encode()))
        if headers.get("x-amz-checksum-algorithm"):
            blob = await self.objects.keeping.learned(blob, claims.ALGORITHMS[stored.extra["checksum"]["algorithm"]])
        result = xml.document(
            "CopyObjectResult", ("LastModified", iso(stored.created_at)), ("ETag", quoted(stored.etag)),
            *responses.checksum_items(heads.checksum_of(stored.extra, blob)),
        )  # fmt: skip
        return responses.xml_response(request, result, answer)

    async def delete(self, call: Call, principal: Principal, request: Request, proven: Proven) -> Response:
        """DELETE of a name, or of one version."""
        version = version_of(call.query)
        condition = condition_of(proven.headers)
        done = await self.objects.names.delete(
            principal, name_of(call), version, condition, bypass=bypasses(proven.headers)
        )
        headers = responses.with_id(request)
        marker = done.marker or (done.removed if done.removed and done.removed.marker else None)
        if marker:
            headers.append((b"x-amz-delete-marker", b"true"))
        if version or done.marker:
            shown = done.marker.version_id if done.marker else str(version)
            headers.append((b"x-amz-version-id", shown.encode()))
        return Response(204, headers)

    async def attributes(self, call: Call, principal: Principal, request: Request, proven: Proven) -> Response:
        """GET ?attributes."""
        asked = {word.strip() for word in proven.headers.get("x-amz-object-attributes", "").split(",")} - {""}
        known = {"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"}
        if not asked or asked - known:
            raise invalid_argument("Invalid attribute name specified.")
        stored, blob = await self.objects.find(principal, name_of(call), version_of(call.query))
        checksum = heads.checksum_of(stored.extra, blob)
        items: list[xml.Item | None] = []
        if "ETag" in asked:
            items.append(("ETag", stored.etag))
        if "Checksum" in asked and checksum:
            items.append(("Checksum", *responses.checksum_items(checksum)))
        if "ObjectParts" in asked:
            items.append(await self._parts_item(stored, proven.headers, checksum))
        if "StorageClass" in asked:
            items.append(("StorageClass", "STANDARD"))
        if "ObjectSize" in asked:
            items.append(("ObjectSize", stored.size))
        headers = [(b"last-modified", http_date(stored.created_at).encode()), *version_header(stored)]
        return responses.xml_response(request, xml.document("GetObjectAttributesResponse", *items), headers)

    async def _parts_item(
        self, stored: StoredObject, headers: Mapping[str, str], checksum: tuple[str, str, str] | None
    ) -> xml.Item | None:
        parts = await self.objects.parts(stored)
        if not parts:
            return None
        most = responses.count_of(headers.get("x-amz-max-parts"), 1000, "x-amz-max-parts")
        after = responses.count_of(
            headers.get("x-amz-part-number-marker"), 0, "x-amz-part-number-marker", most=MAX_PARTS
        )
        rest = [part for part in parts if part.number > after]
        shown = rest[:most]
        listed = shown if checksum and any(part.checksum for part in shown) else []
        return (
            "ObjectParts",
            ("PartsCount", len(parts)),
            ("PartNumberMarker", after),
            ("NextPartNumberMarker", shown[-1].number if shown else 0),
            ("MaxParts", most),
            ("IsTruncated", xml.boolean(len(rest) > most)),
            *(
                ("Part", ("PartNumber", part.number), ("Size", part.size),
                 (f"Checksum{checksum[0]}", claims.base64_of(part.checksum)) if checksum and part.checksum else None)
                for part in listed
            ),
        )  # fmt: skip


def part_number(text: str) -> int:
    """1 to 10,000. Raises: S3Error."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= MAX_PARTS):
        message = f"Part number must be an integer between 1 and {MAX_PARTS}, inclusive"
        raise invalid_argument(message, "partNumber", text)
    return int(text)


def facts_of(headers: Mapping[str, str], algorithm: str, kind: str = heads.FULL) -> Facts:
    """What an object carries, as the headers of a PUT say. Raises: BadName; S3Error."""
    extra: dict[str, Any] = {}
    if kept := heads.kept_headers(headers):
        extra["headers"] = kept
    if algorithm:
        extra["checksum"] = {"algorithm": algorithm, "type": kind}
    if "x-amz-tagging" in headers:
        extra["tags"] = tagging.header_tags(headers["x-amz-tagging"])
    return Facts(heads.content_type(headers), heads.metadata_of(headers.items()), None, extra)


def copied_facts(headers: Mapping[str, str], old: StoredObject, new_metadata: bool, new_tags: bool) -> Facts:
    """What a copy carries: of the source, or of the request."""
    own = facts_of(headers, "")
    extra = {name: old.extra[name] for name in ("checksum", "tags", "headers") if name in old.extra}
    wanted = headers.get("x-amz-checksum-algorithm", "").upper()
    if wanted and wanted not in claims.ALGORITHMS:
        raise invalid_request("Checksum algorithm provided is unsupported.")
    if wanted:
        extra["checksum"] = {"algorithm": wanted, "type": heads.FULL}
    elif extra.get("checksum", {}).get("value"):  # it was made of parts, and the copy has none
        del extra["checksum"]
    for replaced, name in ((new_metadata, "headers"), (new_tags, "tags")):
        if replaced:
            extra.pop(name, None)
            if name in own.extra:
                extra[name] = own.extra[name]
    if new_metadata:
        return Facts(own.content_type, own.metadata, None, extra)
    return Facts(old.content_type, old.metadata, None, extra)


def copy_source(headers: Mapping[str, str]) -> tuple[ObjectName, VersionId | None]:
    """The object x-amz-copy-source names: decoded once. Raises: S3Error."""
    path, asked, version = headers["x-amz-copy-source"].partition("?versionId=")
    try:
        text = unquote_to_bytes(path.encode("latin-1")).decode()
    except UnicodeDecodeError as error:
        raise invalid_argument("Copy Source must mention the source bucket and key: sourcebucket/sourcekey") from error
    bucket, slash, key = text.removeprefix("/").partition("/")
    if not bucket or not slash or not key or "\0" in text:
        raise invalid_argument("Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
    return named(bucket, key), version_of({"versionId": version}) if asked else None


def check_source(headers: Mapping[str, str], old: StoredObject) -> None:
    """Nothing, if the conditions on the source hold. Raises: S3Error PreconditionFailed."""
    match, none = headers.get("x-amz-copy-source-if-match"), headers.get("x-amz-copy-source-if-none-match")
    since, unmodified = (
        http_time(headers.get(f"x-amz-copy-source-if-{word}-since")) for word in ("modified", "unmodified")
    )
    failed = {
        "If-Match": match is not None and not names_etag(match, old.etag),
        "If-None-Match": none is not None and names_etag(none, old.etag),
        "If-Unmodified-Since": match is None and unmodified is not None and int(old.created_at) > unmodified,
        "If-Modified-Since": none is None and since is not None and int(old.created_at) <= since,
    }
    for name in filter(failed.get, failed):
        message = "At least one of the pre-conditions you specified did not hold"
        raise S3Error("PreconditionFailed", message, ("Condition", f"x-amz-copy-source-{name}"))


@contextmanager
def copying(source: ObjectName) -> Iterator[None]:
    """Says of a source that is not there that it is the source. Raises: S3Error."""
    try:
        yield
    except MarkerAsked as error:
        message = "The source of a copy request may not specifically refer to a delete marker by version id."
        raise invalid_request(message) from error
    except NotFound as error:
        _, code = responses.code_of(error)
        if code not in ("NoSuchKey", "NoSuchVersion"):
            raise
        raise S3Error(code, responses.message_of(code, error), ("Key", source.key)) from error


def condition_of(headers: Mapping[str, str]) -> Condition:
    """What must hold for a write. Raises: S3Error for conditions S3 does not have."""
    match, none = headers.get("if-match"), headers.get("if-none-match")
    if none is not None and "," in none:
        raise S3Error("NotImplemented", "A header you provided implies functionality that is not implemented.")
    if match is not None and none is not None:
        raise S3Error("NotImplemented", "If-Match and If-None-Match cannot be used together.")
    if none is None:
        return ALWAYS if match is None else Condition(etag=match.strip('"'))
    return Condition(absent=True) if none.strip() == "*" else Condition(other_than=none.strip().strip('"'))


def conditions_of(etag: str) -> Condition:
    """That the object still has this ETag; none is no condition."""
    return Condition(etag=etag.strip('"')) if etag else ALWAYS


def bypasses(headers: Mapping[str, str]) -> bool:
    """Whether the request asks to pass over a GOVERNANCE lock."""
    return headers.get("x-amz-bypass-governance-retention", "").lower() == "true"


def put_headers(stored: StoredObject, blob: Blob) -> list[Header]:
    """What the answer to a write shows of the new object."""
    return [(b"etag", quoted(stored.etag).encode()), *made_header(stored), *heads.checksum_headers(stored, blob)]


def made_header(stored: StoredObject) -> list[Header]:
    """The id of a version that was just made; AWS does not tell `null`."""
    return [] if stored.unversioned else version_header(stored)


def version_header(stored: StoredObject) -> list[Header]:
    """The version's id, if its bucket keeps versions."""
    return [(b"x-amz-version-id", stored.version_id.encode())] if stored.version_id else []


def quoted(etag: str) -> str:
    """An ETag as headers and XML have it."""
    return f'"{etag}"'


def iso(at: float) -> str:
    """A time as XML has it."""
    milliseconds = int(at * 1000)
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03}Z"


@lru_cache(maxsize=4096)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _for_browsers(shown: list[Header], stored: StoredObject, query: Mapping[str, str]) -> list[Header]:
    """The same headers, made safe to be opened as a page."""
    asked = "response-content-disposition" in query
    table = dict(shown)
    kept = table.get(b"content-disposition", b"")
    if not asked and not kept.lower().startswith(b"attachment"):
        kind = table[b"content-type"].decode("latin-1")
        table[b"content-disposition"] = disposition(kind, stored.key).encode()
    return [*table.items(), *SHIELD]
