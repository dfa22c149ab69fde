"""Calls on buckets: make, remove, and their configuration, which is kept as JSON under one word for each part."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from entrepot.auth import bucket_policy
from entrepot.auth.grants import Grant, canonical_id, full_control, is_public
from entrepot.auth.permissions import require_known
from entrepot.model import Bucket, Clock
from entrepot.principals import Action, Principal, Role
from entrepot.protocols.base import Request, Response
from entrepot.protocols.s3 import acl, cors, lifecycle, lock, responses, tagging, xml
from entrepot.protocols.s3.calls import Call, name_of
from entrepot.protocols.s3.errors import S3Error, invalid_argument, invalid_bucket_name, invalid_request, malformed_xml
from entrepot.protocols.s3.proofs import Proven
from entrepot.services.buckets import Buckets, TakenElsewhere
from entrepot.services.projects import RESERVED, Projects

REGION: Final = "us-east-1"
DEFAULT_REGIONS: Final = ("", REGION, "default")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_OWNERSHIP: Final = ("BucketOwnerPreferred", "ObjectWriter", "BucketOwnerEnforced")
_BLOCK: Final = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
_TOLD: Final = ("location", "versioning")
"""What whoever may list a bucket may know of its configuration."""
_UNSET: Final = {
    "policy": ("NoSuchBucketPolicy", "The bucket policy does not exist"),
    "cors": ("NoSuchCORSConfiguration", "The CORS configuration does not exist"),
    "tagging": ("NoSuchTagSet", "The TagSet does not exist"),
    "lifecycle": ("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"),
    "publicAccessBlock": (
        "NoSuchPublicAccessBlockConfiguration", "The public access block configuration was not found"
    ),
    "ownershipControls": ("OwnershipControlsNotFoundError", "The bucket ownership controls were not found"),
    "object-lock": (
        "ObjectLockConfigurationNotFoundError", "Object Lock configuration does not exist for this bucket"
    ),
}  # fmt: skip
"""What is said of a part of the configuration that was never set."""


def bucket_name(text: str) -> str:
    """`text` as the name of a new bucket, as S3 has them. Raises: S3Error InvalidBucketName."""
    fits = _NAME.match(text) and not any(pair in text for pair in ("..", ".-", "-."))
    if not fits or text in RESERVED or _is_address(text):
        raise invalid_bucket_name()
    return text


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class BucketCalls:
    """What is done with buckets."""

    buckets: Buckets
    projects: Projects
    now: Clock

    async def create(self, call: Call, principal: Principal, request: Request, proven: Proven) -> Response:
        """PUT /b."""
        name = bucket_name(call.bucket)
        require_known(principal)
        config: dict[str, Any] = {}
        location = _location(await proven.document(request))
        if location:
            config["location"] = location
        grants = await self.grants(proven.headers, principal.project)
        if grants is not None:
            config["acl"] = grants
        if "x-amz-object-ownership" in proven.headers:
            config["ownershipControls"] = _ownership(proven.headers["x-amz-object-ownership"])
        locked = proven.headers.get("x-amz-bucket-object-lock-enabled", "").lower() == "true"
        if locked:
            config["object-lock"] = {}
        try:
            found, made = await self.buckets.create(principal, name, config, "Enabled" if locked else "")
        except TakenElsewhere as error:
            message = "The requested bucket name is not available. Select a different name and try again."
            raise S3Error("BucketAlreadyExists", message) from error
        private = [full_control(found.project)]
        if not made and (grants or private) != found.config.get("acl", private):
            raise S3Error("BucketAlreadyExists", "The bucket exists, with another ACL.")
        return Response(200, [*responses.with_id(request), (b"location", f"/{name}".encode())])

    async def remove(self, call: Call, principal: Principal, request: Request) -> Response:
        """DELETE /b."""
        found = await self.buckets.find(principal, name_of(call), Action.DELETE)
        await self.projects.remove_bucket(principal, found.name, found.project)
        return Response(204, responses.with_id(request))

    async def show(self, call: Call, principal: Principal, request: Request, what: str) -> Response:
        """GET /b?what."""
        found = await self.buckets.find(principal, name_of(call), Action.LIST)
        if principal.roles.get(found.project_id, 0) < Role.READER and what not in _TOLD:
            await self.buckets.find(principal, name_of(call), Action.OVERWRITE)  # guests see no more than they may set
        config = found.config
        if what in _UNSET and (what not in config or (what == "tagging" and not config[what])):
            raise S3Error(*_UNSET[what])
        if what == "policy":
            return Response(
                200,
                [*responses.with_id(request), (b"content-type", b"application/json")],
                config[what]["text"].encode(),
            )
        if what == "acl":
            return responses.xml_response(request, await self.written_acl(found.project, config.get("acl")))
        return responses.xml_response(request, self._document(found, config, what))

    def _document(self, found: Bucket, config: Mapping[str, Any], what: str) -> bytes:
        match what:
            case "location":
                return xml.document("LocationConstraint", config.get("location", ""))
            case "versioning":
                return xml.document(
                    "VersioningConfiguration", ("Status", found.versioning) if found.versioning else None
                )
            case "policyStatus":
                by_policy = "policy" in config and bucket_policy.is_public(config["policy"]["read"])
                public = found.is_open or by_policy or is_public(config.get("acl", ()))
                return xml.document("PolicyStatus", ("IsPublic", xml.boolean(public)))
            case "cors":
                return cors.write_cors(config[what])
            case "tagging":
                return tagging.write_tags(config[what])
            case "lifecycle":
                return lifecycle.write_lifecycle(config[what])
            case "object-lock":
                return lock.write_lock_configuration(config[what])
            case "publicAccessBlock":
                items = [(name, xml.boolean(config[what].get(name, False))) for name in _BLOCK]
                return xml.document("PublicAccessBlockConfiguration", *items)
            case _:
                return xml.document("OwnershipControls", ("Rule", ("ObjectOwnership", config[what])))

    async def set(self, call: Call, principal: Principal, request: Request, proven: Proven, what: str) -> Response:
        """PUT /b?what."""
        found = await self.buckets.find(principal, name_of(call), Action.OVERWRITE)
        data = await proven.document(request)
        if not data and what != "acl":
            raise S3Error("MissingRequestBodyError", "Request Body is empty")
        status = 204 if what in ("policy", "tagging") else 200
        if what == "versioning":
            await self._set_versioning(call, principal, data)
            return Response(status, responses.with_id(request))
        value = await self._value(found, data, proven, what)

        def change(bucket: Bucket) -> Mapping[str, Any]:
            if what == "object-lock" and bucket.versioning != "Enabled":
                message = "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration"
                raise S3Error("InvalidBucketState", message)
            return {**bucket.config, what: value}

        await self.buckets.configure(principal, name_of(call), change)
        return Response(status, responses.with_id(request))

    async def _value(self, found: Bucket, data: bytes, proven: Proven, what: str) -> Any:
        """What the body says, as JSON. Raises: S3Error."""
        readers: dict[str, Callable[[bytes], Any]] = {
            "cors": cors.read_cors,
            "tagging": lambda body: tagging.read_tags(body, tagging.MAX_BUCKET_TAGS),
            "lifecycle": lifecycle.read_lifecycle,
            "object-lock": lock.read_lock_configuration,
            "publicAccessBlock": _public_block,
            "ownershipControls": lambda body: _ownership(
                xml.read(body, "OwnershipControls").one("Rule").text_of("ObjectOwnership")
            ),
        }
        if what in readers:
            return readers[what](data)
        known = await self.known_ids()
        if what == "policy":
            read = bucket_policy.read_policy(data, found.name, known.__contains__)
            if bucket_policy.is_public(read) and found.config.get("publicAccessBlock", {}).get("BlockPublicPolicy"):
                raise _blocked()
            return {"text": data.decode(), "read": read}
        check_acls(found)
        if data:
            return check_public(found, acl.read_acl(data, known.__contains__))
        grants = await self.grants(proven.headers, found.project)
        if grants is None:
            raise invalid_request("Your request was missing a required header: x-amz-acl")
        return check_public(found, grants)

    async def known_ids(self) -> Mapping[str, str]:
        """Canonical ids of all projects, with their names."""
        return await self.buckets.canonical_ids()

    async def written_acl(self, owner: str, grants: list[Grant] | None) -> bytes:
        """The grants of what that project owns, as a document; none: it is the owner's alone."""
        names = await self.known_ids()
        return acl.write_acl(
            canonical_id(owner), owner, grants or [full_control(owner)], lambda who: names.get(who, who)
        )

    async def grants(self, headers: Mapping[str, str], project: str, bucket_project: str = "") -> list[Grant] | None:
        """The grants headers ask for; None if they ask for none. Raises: S3Error."""
        owner = canonical_id(project)
        if "x-amz-acl" in headers:
            return acl.canned(headers["x-amz-acl"], owner, canonical_id(bucket_project or project))
        if any(name.startswith("x-amz-grant-") for name in headers):
            known = await self.known_ids()
            return acl.header_grants(headers, known.__contains__)
        return None

    async def _set_versioning(self, call: Call, principal: Principal, data: bytes) -> None:
        status = xml.read(data, "VersioningConfiguration").only("Status", "MfaDelete").text_of("Status")
        if status not in ("Enabled", "Suspended"):
            raise malformed_xml()

        def change(bucket: Bucket) -> Mapping[str, Any]:
            if "object-lock" in bucket.config and status != "Enabled":
                message = (
                    "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed."
                )
                raise S3Error("InvalidBucketState", message)
            return bucket.config

        await self.buckets.configure(principal, name_of(call), change, versioning=status)

    async def unset(self, call: Call, principal: Principal, request: Request, what: str) -> Response:
        """DELETE /b?what."""

        def change(bucket: Bucket) -> Mapping[str, Any]:
            return {name: value for name, value in bucket.config.items() if name != what}

        await self.buckets.configure(principal, name_of(call), change)
        return Response(204, responses.with_id(request))


def check_acls(bucket: Bucket) -> None:
    """Nothing, if grants count there. Raises: S3Error if the bucket's owner enforces that none do."""
    if bucket.config.get("ownershipControls") == "BucketOwnerEnforced":
        raise S3Error("AccessControlListNotSupported", "The bucket does not allow ACLs")


def check_public(bucket: Bucket, grants: list[Grant]) -> list[Grant]:
    """The same grants. Raises: S3Error if they open the bucket to all and it blocks that."""
    if is_public(grants) and bucket.config.get("publicAccessBlock", {}).get("BlockPublicAcls"):
        raise _blocked()
    return grants


def _blocked() -> S3Error:
    return S3Error("AccessDenied", "Public access is blocked by the PublicAccessBlock configuration of the bucket")


def _location(data: bytes) -> str:
    if not data.strip():
        return ""
    root = xml.read(data, "CreateBucketConfiguration")
    location = root.text_of("LocationConstraint", "")
    if location not in DEFAULT_REGIONS:
        raise S3Error("InvalidLocationConstraint", "The specified location-constraint is not valid")
    return "" if location == REGION else location


def _ownership(text: str) -> str:
    if text not in _OWNERSHIP:
        raise invalid_argument(f"Invalid x-amz-object-ownership header: {text}")
    return text


def _public_block(data: bytes) -> dict[str, bool]:
    root = xml.read(data, "PublicAccessBlockConfiguration").only(*_BLOCK)
    words = {"true": True, "false": False}
    texts = {child.name: child.text.strip().lower() for child in root.children}
    if not set(texts.values()) <= words.keys():
        raise malformed_xml()
    return {name: words[text] for name, text in texts.items()}
