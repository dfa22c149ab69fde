"""What is kept beside an object's bytes: grants, tags, retention, legal hold. Shown, set, unset; asked for by a PUT."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from entrepot.auth.grants import Grant, canonical_id
from entrepot.model import Bucket, Clock, Facts, StoredObject
from entrepot.principals import Action, Principal
from entrepot.protocols.base import Request, Response
from entrepot.protocols.s3 import acl, lock, responses, tagging
from entrepot.protocols.s3.buckets import BucketCalls, check_public
from entrepot.protocols.s3.calls import Call
from entrepot.protocols.s3.errors import S3Error, invalid_request
from entrepot.protocols.s3.objects import bypasses, name_of, version_header, version_of
from entrepot.protocols.s3.proofs import Proven
from entrepot.services.objects import Objects
from entrepot.services.retention import may_change

OBJECT_TAGS: Final = 10
_LOCK_HEADERS: Final = tuple(
    f"x-amz-object-lock-{word}" for word in ("mode", "retain-until-date", "legal-hold")
)  # fmt: skip
NO_LOCK: Final = "Bucket is missing Object Lock Configuration"


@dataclass(frozen=True, slots=True)
class FactCalls:
    """What is done with it."""

    objects: Objects
    buckets: BucketCalls
    now: Clock

    async def asked(self, call: Call, principal: Principal, proven: Proven, facts: Facts) -> Facts:
        """The same facts, with the grants and locks the headers of a write ask for. Raises: S3Error; Denied."""
        headers = proven.headers
        grants_asked = "x-amz-acl" in headers or any(name.startswith("x-amz-grant-") for name in headers)
        locks = [headers.get(name) for name in _LOCK_HEADERS]
        if not grants_asked and not any(locks):
            return facts
        bucket = await self.buckets.buckets.find(principal, call.bucket, Action.GET if not call.key else Action.CREATE)
        extra: dict[str, Any] = dict(facts.extra)
        if grants_asked:
            extra |= await self._grants(headers, principal, bucket)
        if any(locks):
            if "object-lock" not in bucket.config:
                raise invalid_request(NO_LOCK)
            mode, until, hold_word = locks
            retention, hold = lock.header_lock(mode, until, hold_word, self.now())
            extra |= {"retention": retention} if retention else {}
            extra |= {"hold": hold} if hold is not None else {}
        return replace(facts, extra=extra)

    async def _grants(self, headers: Mapping[str, str], principal: Principal, bucket: Bucket) -> dict[str, Any]:
        """What an object keeps of the grants that are asked for: nothing, if only its owner is meant."""
        if bucket.config.get("ownershipControls") == "BucketOwnerEnforced":
            if headers.get("x-amz-acl") == "bucket-owner-full-control":
                return {}
            raise S3Error("AccessControlListNotSupported", "The bucket does not allow ACLs")
        grants = await self.buckets.grants(headers, principal.project, bucket.project)
        if headers.get("x-amz-acl") == "private" or grants is None:
            return {}
        return {"acl": check_public(bucket, grants), "owner": principal.project}

    async def show(self, call: Call, principal: Principal, request: Request, what: str) -> Response:
        """GET ?what."""
        stored, bucket = await self.objects.names.describe(principal, name_of(call), version_of(call.query))
        return responses.xml_response(request, self._document(stored, bucket, what), version_header(stored))

    def _document(self, stored: StoredObject, bucket: Bucket, what: str) -> bytes:
        extra = stored.extra
        match what:
            case "acl":
                project = extra.get("owner", stored.project)
                owner = canonical_id(project)
                grants = extra.get("acl") or acl.canned("private", owner, owner)
                return acl.write_acl(owner, project, grants, lambda who: project if who == owner else who)
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
        data = await proven.document(request)
        change = await self._change(call, principal, data, proven, what)
        stored = await self.objects.names.change_extra(principal, name_of(call), version_of(call.query), change)
        return Response(200, [*responses.with_id(request), *version_header(stored)])

    async def _change(self, call: Call, principal: Principal, data: bytes, proven: Proven, what: str) -> Any:
        """What the body says, as a change of what an object keeps."""
        if what == "tagging":
            tags = tagging.read_tags(data, OBJECT_TAGS)
            return lambda stored, bucket: {**stored.extra, "tags": tags}
        if what == "acl":
            return await self._change_of_grants(principal, data, proven)
        if what == "legal-hold":
            hold = lock.read_legal_hold(data)
            return lambda stored, bucket: {**_lockable(stored, bucket), "hold": hold}
        retention, bypass = lock.read_retention(data, self.now()), bypasses(proven.headers)

        def keep(stored: StoredObject, bucket: Bucket) -> Mapping[str, Any]:
            extra = _lockable(stored, bucket)
            if not may_change(extra.get("retention"), retention, self.now(), bypass):
                raise S3Error("AccessDenied", "Access Denied because object protected by object lock.")
            return {**extra, "retention": retention}

        return keep

    async def _change_of_grants(self, principal: Principal, data: bytes, proven: Proven) -> Any:
        known = await self.buckets.known_ids()
        read: list[Grant] | None = acl.read_acl(data, known.__contains__) if data else None
        headed = read if read is not None else await self.buckets.grants(proven.headers, principal.project)
        if headed is None:
            raise S3Error("MissingSecurityHeader", "Your request was missing a required header")

        def grant(stored: StoredObject, bucket: Bucket) -> Mapping[str, Any]:
            if bucket.config.get("ownershipControls") == "BucketOwnerEnforced":
                raise S3Error("AccessControlListNotSupported", "The bucket does not allow ACLs")
            return {**stored.extra, "acl": check_public(bucket, headed)}

        return grant

    async def unset(self, call: Call, principal: Principal, request: Request) -> Response:
        """DELETE ?tagging."""

        def change(stored: StoredObject, _bucket: Bucket) -> Mapping[str, Any]:
            return {name: value for name, value in stored.extra.items() if name != "tags"}

        stored = await self.objects.names.change_extra(principal, name_of(call), version_of(call.query), change)
        return Response(204, [*responses.with_id(request), *version_header(stored)])


def _lockable(stored: StoredObject, bucket: Bucket) -> dict[str, Any]:
    """What the object keeps. Raises: S3Error if its bucket knows no locks."""
    if "object-lock" not in bucket.config:
        raise invalid_request(NO_LOCK)
    return dict(stored.extra)
