"""Multipart uploads: begin, send and copy parts, list, complete, abort."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from entrepot.catalog.parts import Part
from entrepot.catalog.uploads import Upload
from entrepot.errors import DigestMismatch
from entrepot.model import Algorithm, Clock, CommonPrefix, Span, StoredObject
from entrepot.principals import Principal
from entrepot.protocols.base import Header, Request, Response
from entrepot.protocols.s3 import claims, heads, responses, xml
from entrepot.protocols.s3.calls import Call, name_of
from entrepot.protocols.s3.claims import ALGORITHMS, PREFIX, Sent, base64_of
from entrepot.protocols.s3.errors import S3Error, invalid_argument, invalid_request, malformed_xml
from entrepot.protocols.s3.lists import Shape, owner_item
from entrepot.protocols.s3.objects import (
    MAX_PARTS,
    MAX_PUT_BYTES,
    Asked,
    ObjectCalls,
    check_source,
    condition_of,
    copy_source,
    copying,
    facts_of,
    iso,
    made_header,
    part_number,
    quoted,
)
from entrepot.protocols.s3.proofs import Proven
from entrepot.services.joining import Joined, Joining
from entrepot.services.multipart import Multipart
from entrepot.services.placing import MAX_BYTES
from entrepot.storage.hashing import CRCS, checksums_of, combined

LEAST_PART_BYTES: Final = 5 << 20
FULL_BY_DEFAULT: Final = frozenset({"CRC64NVME"})
_RANGE: Final = re.compile(r"bytes=(\d{1,15})-(\d{1,15})\Z")


@dataclass(frozen=True, slots=True)
class Named:
    """A part as its client names it at the end; the checksum in base64."""

    number: int
    etag: str
    checksums: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class MultipartCalls:
    """What is done with multipart uploads."""

    multipart: Multipart
    joining: Joining
    objects: ObjectCalls
    now: Clock

    async def create(self, call: Call, principal: Principal, request: Request, proven: Proven, ask: Asked) -> Response:
        """POST ?uploads."""
        algorithm, kind = _checksum_kind(proven.headers)
        facts = facts_of(proven.headers, algorithm, kind)
        asked = "x-amz-checksum-algorithm" in proven.headers
        facts = await ask(call, principal, proven, replace(facts, extra={**facts.extra, "asked": asked}))
        upload_id = await self.multipart.begin(principal, name_of(call), facts, ALGORITHMS[algorithm])
        headers: list[Header] = []
        if "x-amz-checksum-algorithm" in proven.headers:
            headers = [(b"x-amz-checksum-algorithm", algorithm.encode()), (b"x-amz-checksum-type", kind.encode())]
        result = xml.document(
            "InitiateMultipartUploadResult", ("Bucket", call.bucket), ("Key", call.key), ("UploadId", upload_id)
        )
        return responses.xml_response(request, result, headers)

    async def put_part(self, call: Call, principal: Principal, request: Request, proven: Proven) -> Response:
        """PUT ?partNumber&uploadId."""
        number = part_number(call.query.get("partNumber", ""))
        upload = await self.multipart.find(principal, name_of(call), call.query["uploadId"])
        sent = proven.sent(request, self.multipart.objects.blobs.run_hash).held_to(MAX_PUT_BYTES)
        known = upload.facts["extra"]["checksum"]
        if sent.given and sent.algorithm != known["algorithm"] and upload.facts["extra"].get("asked"):
            raise invalid_request(
                f"Checksum Type mismatch occurred, expected checksum Type: {known['algorithm'].lower()}, "
                f"actual checksum Type: {sent.algorithm.lower()}"
            )
        try:
            part = await self._part(call, principal, request, upload.id, number, sent)
        except DigestMismatch as error:
            raise claims.told(error, sent) from error
        headers: list[Header] = [(b"etag", quoted(part.md5).encode())]
        if part.checksum and sent.given and sent.algorithm == known["algorithm"]:
            headers.append((f"{PREFIX}{sent.algorithm.lower()}".encode(), base64_of(part.checksum).encode()))
        return Response(200, [*responses.with_id(request), *headers])

    async def _part(
        self, call: Call, principal: Principal, request: Request, upload_id: str, number: int, sent: Sent
    ) -> Part:
        """The part; without its body if the client waits for a word and the bytes are here."""
        name = name_of(call)
        if request.header(b"expect") is not None and sent.sums:
            known = await self.multipart.put_known(principal, name, upload_id, number, sent.claims, sent.want)
            if known:
                return known
        return await self.multipart.put(principal, name, upload_id, number, sent.body, sent.claims, sent.want)

    async def copy_part(self, call: Call, principal: Principal, request: Request, proven: Proven) -> Response:
        """PUT ?partNumber&uploadId with x-amz-copy-source."""
        number = part_number(call.query.get("partNumber", ""))
        source, version = copy_source(proven.headers)
        text = proven.headers.get("x-amz-copy-source-range")

        def choose(old: StoredObject) -> Span:
            check_source(proven.headers, old)
            if text is None:
                return Span(0, old.size)
            match = _RANGE.match(text)
            if not match or int(match[1]) > int(match[2]):
                raise invalid_argument("The x-amz-copy-source-range value must be of the form bytes=first-last")
            if int(match[2]) >= old.size:
                raise S3Error("InvalidRange", f"Range specified is not valid for source object of size: {old.size}")
            return Span(int(match[1]), int(match[2]) + 1)

        name, upload_id = name_of(call), call.query["uploadId"]
        carried = (await self.multipart.find(principal, name, upload_id)).facts["extra"]
        with copying(source):
            old, part = await self.multipart.copy_part(principal, name, upload_id, number, source, version, choose)
        headers = [(b"x-amz-copy-source-version-id", old.version_id.encode())] if old.version_id else []
        result = xml.document(
            "CopyPartResult", ("LastModified", iso(part.created_at)), ("ETag", quoted(part.md5)),
            _checksum_item(part, carried["checksum"]) if carried.get("asked") else None,
        )  # fmt: skip
        return responses.xml_response(request, result, headers)

    async def list_parts(self, call: Call, principal: Principal, request: Request) -> Response:
        """GET ?uploadId."""
        query = call.query
        upload, parts = await self.multipart.parts(principal, name_of(call), query["uploadId"])
        most = responses.count_of(query.get("max-parts"), 1000, "max-parts")
        after = responses.count_of(query.get("part-number-marker"), 0, "part-number-marker", most=MAX_PARTS)
        rest = [part for part in parts if part.number > after]
        shown, known = rest[:most], upload.facts["extra"]["checksum"]
        result = xml.document(
            "ListPartsResult", ("Bucket", call.bucket), ("Key", call.key), ("UploadId", upload.id),
            ("PartNumberMarker", after), ("NextPartNumberMarker", shown[-1].number if shown else 0),
            ("MaxParts", most), ("IsTruncated", xml.boolean(len(rest) > most and bool(shown))),
            *_checksum_words(known, upload.facts["extra"]),
            *(
                ("Part", ("PartNumber", part.number), ("LastModified", iso(part.created_at)),
                 ("ETag", quoted(part.md5)), ("Size", part.size),
                 _checksum_item(part, known))
                for part in shown
            ),
            *_whose(upload), ("StorageClass", "STANDARD"),
        )  # fmt: skip
        return responses.xml_response(request, result)

    async def list_uploads(self, call: Call, principal: Principal, request: Request) -> Response:
        """GET /b?uploads."""
        query = call.query
        encoding = query.get("encoding-type", "")
        if encoding not in ("", "url"):
            raise invalid_argument("Invalid Encoding Method specified in Request")
        shape = Shape(bool(encoding))
        most = responses.count_of(query.get("max-uploads"), 1000, "max-uploads")
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        key, marker = query.get("key-marker", ""), query.get("upload-id-marker", "") if query.get("key-marker") else ""
        page = await self.multipart.open_ones(principal, name_of(call), prefix, key, marker, most, delimiter)
        last = page.items[-1] if page.more and page.items else None
        result = xml.document(
            "ListMultipartUploadsResult", ("Bucket", call.bucket), ("KeyMarker", shape(key)),
            ("UploadIdMarker", marker),
            ("NextKeyMarker", shape(last.prefix if isinstance(last, CommonPrefix) else last.name or ""))
            if last else None,
            ("NextUploadIdMarker", last.id if isinstance(last, Upload) else "") if last else None,
            ("Prefix", shape(prefix)), ("Delimiter", shape(delimiter)) if delimiter else None,
            ("MaxUploads", most), ("EncodingType", "url") if encoding else None,
            ("IsTruncated", xml.boolean(bool(last))), *(_upload_item(one, shape) for one in page.items),
        )  # fmt: skip
        return responses.xml_response(request, result)

    async def complete(self, call: Call, principal: Principal, request: Request, proven: Proven) -> Response:
        """POST ?uploadId."""
        extra = await self._extra(call, principal)
        data = await proven.document(request, with_checksum=False)
        wanted = await self.multipart.objects.blobs.run_hash(_wanted, data)
        condition = condition_of(proven.headers)
        name, value = claims.declared(proven.headers)

        def join(known: Sequence[Part]) -> tuple[list[Part], Joined]:
            claimed = (name, value) if value is not None else None
            return _joined(call.query["uploadId"], known, wanted, extra, claimed, proven.headers)

        etag = composite_etag([one.etag for one in wanted])
        stored, blob = await self.joining.complete(
            principal, name_of(call), call.query["uploadId"], join, condition, etag
        )
        result = xml.document(
            "CompleteMultipartUploadResult", ("Location", f"{request.base_url}{request.raw_path.decode('latin-1')}"),
            ("Bucket", call.bucket), ("Key", call.key), ("ETag", quoted(stored.etag)),
            *responses.checksum_items(heads.checksum_of(stored.extra, blob)),
        )  # fmt: skip
        return responses.xml_response(request, result, made_header(stored))

    async def _extra(self, call: Call, principal: Principal) -> Mapping[str, str]:
        """Algorithm and type of the upload's checksum."""
        upload = await self.multipart.known(principal, name_of(call), call.query["uploadId"])
        found: Mapping[str, str] = upload.facts["extra"]["checksum"]
        return found

    async def abort(self, call: Call, principal: Principal, request: Request) -> Response:
        """DELETE ?uploadId."""
        await self.multipart.abort(principal, name_of(call), call.query["uploadId"])
        return Response(204, responses.with_id(request))


def _upload_item(one: Upload | CommonPrefix, shape: Shape) -> xml.Item:
    if isinstance(one, CommonPrefix):
        return "CommonPrefixes", ("Prefix", shape(one.prefix))
    return (
        "Upload", ("Key", shape(one.name or "")), ("UploadId", one.id), *_whose(one),
        ("StorageClass", "STANDARD"), ("Initiated", iso(one.created_at)),
        *_checksum_words(one.facts["extra"]["checksum"], one.facts["extra"]),
    )  # fmt: skip


def _checksum_kind(headers: Mapping[str, str]) -> tuple[str, str]:
    """Algorithm and type of a new upload's checksum. Raises: S3Error."""
    algorithm = headers.get("x-amz-checksum-algorithm", "").upper() or "CRC64NVME"
    if algorithm not in ALGORITHMS:
        raise invalid_request(
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types"
        )
    default = heads.FULL if algorithm in FULL_BY_DEFAULT else heads.COMPOSITE
    kind = headers.get("x-amz-checksum-type", default).upper()
    if kind not in (heads.FULL, heads.COMPOSITE):
        raise invalid_request("Value for x-amz-checksum-type header is invalid.")
    fits = ALGORITHMS[algorithm] in CRCS if kind == heads.FULL else algorithm not in FULL_BY_DEFAULT
    if not fits or ("x-amz-checksum-type" in headers and "x-amz-checksum-algorithm" not in headers):
        raise invalid_request(
            f"The {kind} checksum type cannot be used with the {algorithm.lower()} checksum algorithm."
        )
    return algorithm, kind


def _checksum_words(known: Mapping[str, str], extra: Mapping[str, object]) -> list[xml.Item]:
    if not extra.get("asked"):
        return []
    return [("ChecksumAlgorithm", known["algorithm"]), ("ChecksumType", known["type"])]


def _checksum_item(part: Part, known: Mapping[str, str]) -> xml.Item | None:
    return (f"Checksum{known['algorithm']}", base64_of(part.checksum)) if part.checksum else None


def _whose(upload: Upload) -> list[xml.Item]:
    """Who began an upload, and whose its object will be."""
    return [owner_item(upload.facts["project"], "Initiator"), owner_item(upload.facts["extra"]["owner"], "Owner")]


def _wanted(data: bytes) -> list[Named]:
    """The parts a client names. Raises: S3Error."""
    root = xml.read(data, "CompleteMultipartUpload").only("Part")
    found = []
    for node in root.children:
        node.only("PartNumber", "ETag", *(f"Checksum{name}" for name in ALGORITHMS))
        checksums = {name: node.text_of(f"Checksum{name}") for name in ALGORITHMS if node.all(f"Checksum{name}")}
        text = node.text_of("PartNumber").strip()
        if not (text.isascii() and text.isdigit()):
            raise malformed_xml()
        found.append(Named(part_number(text), node.text_of("ETag").strip().strip('"'), checksums))
    if not found or len(found) > MAX_PARTS:
        raise malformed_xml()
    if any(one.number >= other.number for one, other in pairwise(found)):
        raise S3Error(
            "InvalidPartOrder", "The list of parts was not in ascending order. Parts must be ordered by part number."
        )
    return found


def _joined(
    upload_id: str,
    known: Sequence[Part],
    wanted: Sequence[Named],
    upload: Mapping[str, str],
    claimed: tuple[str, str] | None,
    headers: Mapping[str, str],
) -> tuple[list[Part], Joined]:
    """The parts that are named, and what they are together. Raises: S3Error."""
    here = {part.number: part for part in known}
    algorithm, kind = upload["algorithm"], upload["type"]
    chosen: list[Part] = []
    for one in wanted:
        part = here.get(one.number)
        given = one.checksums.get(algorithm)
        fits = part and part.md5 == one.etag.lower() and not one.checksums.keys() - {algorithm}
        if part is None or not fits or (given is not None and given != base64_of(part.checksum or "")):
            raise S3Error(
                "InvalidPart", "One or more of the specified parts could not be found.  The part may not have been "
                "uploaded, or the specified entity tag may not match the part's entity tag.",
                ("UploadId", upload_id), ("PartNumber", one.number), ("ETag", one.etag),
            )  # fmt: skip
        chosen.append(part)
    for part in chosen[:-1]:
        if part.size < LEAST_PART_BYTES:
            raise S3Error(
                "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size",
                ("ETag", part.md5), ("MinSizeAllowed", LEAST_PART_BYTES), ("ProposedSize", part.size),
                ("PartNumber", part.number),
            )  # fmt: skip
    size = sum(part.size for part in chosen)
    if size > MAX_BYTES:
        raise S3Error("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
    told = headers.get("x-amz-mp-object-size")
    if told is not None and told != str(size):
        raise invalid_request("The provided 'x-amz-mp-object-size' header does not match what was computed.")
    sums: dict[Algorithm, str] = {}
    if kind == heads.FULL:
        whole = combined(ALGORITHMS[algorithm], [(part.checksum or "0", part.size) for part in chosen])
        sums[ALGORITHMS[algorithm]] = whole
        value, extra = base64_of(whole), {"checksum": dict(upload)}
    else:
        raw = b"".join(bytes.fromhex(part.checksum or "") for part in chosen)
        value = f"{_digest(algorithm, raw)}-{len(chosen)}"
        extra = {"checksum": {**upload, "value": value}}
    if claimed and claimed[0] == algorithm and claimed[1].partition("-")[0] != value.partition("-")[0]:
        raise claims.bad_checksum(ALGORITHMS[algorithm].value)
    return chosen, Joined(composite_etag([part.md5 for part in chosen]), size, extra, sums)


def _digest(algorithm: str, raw: bytes) -> str:
    kind = ALGORITHMS[algorithm]
    return base64_of(checksums_of(raw, [kind])[kind])


def composite_etag(md5s: Sequence[str]) -> str:
    """The ETag of an object made of parts: the MD5 of their MD5s, and how many."""
    try:
        raw = b"".join(bytes.fromhex(md5) for md5 in md5s)
    except ValueError:
        return ""
    return f"{hashlib.md5(raw, usedforsecurity=False).hexdigest()}-{len(md5s)}"
