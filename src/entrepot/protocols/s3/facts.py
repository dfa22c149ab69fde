"""What is kept beside an object's bytes: grants, tags, retention, legal hold. Shown, set, unset; asked for by a PUT."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from entrepot.auth.grants import canonical_id, reaches
from entrepot.model import Bucket, Clock, Facts, StoredObject
from entrepot.principals import Action, Principal
from entrepot.protocols.base import Request, Response
from entrepot.protocols.s3 import acl, lock, responses, tagging
from entrepot.protocols.s3.buckets import BucketCalls, check_acls, check_public
from entrepot.protocols.s3.calls import Call, name_of
from entrepot.protocols.s3.errors import S3Error, invalid_request
from entrepot.protocols.s3.objects import bypasses, version_header, version_of
from entrepot.protocols.s3.proofs import Proven
from entrepot.protocols.s3.words import words_of_tags
from entrepot.services.names import BYPASS
from entrepot.services.objects import Objects
from entrepot.services.places import asking, with_words
from entrepot.services.retention import may_change
from entrepot.services.sharing import owner_of

_LOCK_HEADERS: Final = tuple(
    f"x-amz-object-lock-{word}" for word in ("mode", "retain-until-date", "legal-hold")
)  # fmt: skip
Change = Callable[[StoredObject, Bucket], Mapping[str, Any]]
"""What an object keeps from now on."""
NO_LOCK: Final = "Bucket is missing Object Lock Configuration"


@dataclass(frozen=True, slots=True)
class FactCalls:
    """What is done with it."""

    objects: Objects
    buckets: BucketCalls
    now: Clock

    async def asked(self, call: Call, principal: Principal, proven: Proven, facts: Facts) -> Facts:
        """The same facts, with the grants and locks the headers ask for. Raises: S3Error; Denied."""
        headers = proven.headers
        locks = [headers.get(name) for name in _LOCK_HEADERS]
        grants_asked = "x-amz-acl" in headers or any(name.startswith("x-amz-grant-") for name in headers)
        beside = ["s3:PutObjectAcl"] * grants_asked + ["s3:PutObjectTagging"] * ("tags" in facts.extra)
        above = ["s3:PutObjectRetention"] * any(locks[:2]) + ["s3:PutObjectLegalHold"] * bool(locks[2])
        if not beside and not above:
            return facts
        bucket = await self.buckets.buckets.find_for_write(principal, name_of(call), beside, above)
        extra: dict[str, Any] = dict(facts.extra)
        if grants_asked:
            owner = owner_of(bucket, principal)
            extra |= await self._grants(headers, owner, bucket)
            if reaches(extra.get("acl", ()), bucket.project, owner):
                await self.buckets.buckets.check_may_publish(principal, name_of(call))
        if any(locks):
            if "object-lock" not in bucket.config:
                raise invalid_request(NO_LOCK)
            mode, until, hold_word = locks
            retention, hold = lock.header_lock(mode, until, hold_word, self.now())
            extra |= {"retention": retention} if retention else {}
            extra |= {"hold": hold} if hold is not None else {}
        return replace(facts, extra=extra)

    async def _grants(self, headers: Mapping[str, str], owner: str, bucket: Bucket) -> dict[str, Any]:
        """What an object keeps of the grants that are asked for: nothing, if only its owner is meant."""
        ownership = bucket.config.get("ownershipControls", "ObjectWriter")
        if ownership != "ObjectWriter" and headers.get("x-amz-acl") == "bucket-owner-full-control":
            return {"owner": bucket.project}
        check_acls(bucket)
        grants = await self.buckets.grants(headers, owner, bucket.project)
        if headers.get("x-amz-acl") == "private" or grants is None:
            return {}
        return {"acl": check_public(bucket, grants)}

    async def show(self, call: Call, principal: Principal, request: Request, what: str) -> Response:
        """GET ?what."""
        stored, bucket = await self.objects.names.describe(principal, name_of(call), version_of(call.query))
        if what == "acl":
            found = await self.buckets.written_acl(stored.owner, stored.extra.get("acl"))
        else:
            found = self._document(stored, bucket, what)
        return responses.xml_response(request, found, version_header(stored))

    def _document(self, stored: StoredObject, bucket: Bucket, what: str) -> bytes:
        extra = stored.extra
        match what:
            case "tagging":
                return tagging.write_tags(extra.get("tags", {}))
            case _:
                if "object-lock" not in bucket.config:
                    raise invalid_request(NO_LOCK)
                key = "retention" if what == "retention" else "hold"
                if extra.get(key) is None:
                    message = "The specified object does not have a ObjectLock configuration"
                    raise S3Error("NoSuchObjectLockConfiguration", message)
                return lock.write_retention(extra[key]) if key == "retention" else lock.write_legal_hold(extra[key])

    async def set(self, call: Call, principal: Principal, request: Request, proven: Proven, what: str) -> Response:
        """PUT ?what."""
        name, version = name_of(call), version_of(call.query)
        await self.buckets.buckets.check_may_be_allowed(principal, name, Action.OVERWRITE, version)
        data = await proven.document(request)
        bypass = bypasses(proven.headers) and await self.buckets.buckets.may(
            asking(principal, BYPASS), name, Action.OVERWRITE
        )
        if what == "tagging":
            tags = tagging.read_tags(data, tagging.MAX_OBJECT_TAGS)
            principal, change = with_words(principal, words_of_tags(tags)), _change_of("tags", tags)
        else:
            change = await self._change(data, proven, what, bypass=bypass)
        stored = await self.objects.names.change_extra(principal, name, version, change)
        return Response(200, [*responses.with_id(request), *version_header(stored)])

    async def _change(self, data: bytes, proven: Proven, what: str, *, bypass: bool) -> Change:
        """What the body says, as a change of what an object keeps."""
        if what == "acl":
            return await self._change_of_grants(data, proven)
        if what == "legal-hold":
            hold = lock.read_legal_hold(data)
            return lambda stored, bucket: {**_lockable(stored, bucket), "hold": hold}
        retention = lock.read_retention(data, self.now())

        def keep(stored: StoredObject, bucket: Bucket) -> Mapping[str, Any]:
            extra = _lockable(stored, bucket)
            if not may_change(extra.get("retention"), retention, self.now(), bypass):
                raise S3Error("AccessDenied", "Access Denied because object protected by object lock.")
            return {**extra, "retention": retention}

        return keep

    async def _change_of_grants(self, data: bytes, proven: Proven) -> Change:
        """For an object, whose owner stays who it was."""
        known = (await self.buckets.known_ids()).__contains__
        canned = "" if data else proven.headers.get("x-amz-acl", "")
        read = acl.read_acl(data, known) if data else acl.header_grants(proven.headers, known)
        if not data and not canned and not read:
            raise S3Error("MissingSecurityHeader", "Your request was missing a required header")

        def grant(stored: StoredObject, bucket: Bucket) -> Mapping[str, Any]:
            check_acls(bucket)
            owners = canonical_id(stored.owner), canonical_id(bucket.project)
            return {**stored.extra, "acl": check_public(bucket, acl.canned(canned, *owners) if canned else read)}

        return grant

    async def unset(self, call: Call, principal: Principal, request: Request) -> Response:
        """DELETE ?tagging."""

        def change(stored: StoredObject, _bucket: Bucket) -> Mapping[str, Any]:
            return {name: value for name, value in stored.extra.items() if name != "tags"}

        stored = await self.objects.names.change_extra(principal, name_of(call), version_of(call.query), change)
        return Response(204, [*responses.with_id(request), *version_header(stored)])


def _change_of(word: str, value: object) -> Change:
    return lambda stored, _bucket: {**stored.extra, word: value}


def _lockable(stored: StoredObject, bucket: Bucket) -> dict[str, Any]:
    """What the object keeps. Raises: S3Error if its bucket knows no locks."""
    if "object-lock" not in bucket.config:
        raise invalid_request(NO_LOCK)
    return dict(stored.extra)
