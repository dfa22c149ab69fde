"""A request in the words of bucket policies: its operation, and what a condition may ask of it. Source: AWS, "Actions,
resources, and condition keys for Amazon S3".
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from entrepot.auth.bucket_policy import HEADER_KEYS
from entrepot.protocols import base
from entrepot.protocols.base import Request
from entrepot.protocols.s3 import calls, heads, requests, tagging
from entrepot.protocols.s3.calls import Call
from entrepot.protocols.s3.errors import S3Error

_CONFIG: Final = {
    "location": "BucketLocation", "versioning": "BucketVersioning", "acl": "BucketAcl", "policy": "BucketPolicy",
    "policyStatus": "BucketPolicyStatus", "cors": "BucketCORS", "tagging": "BucketTagging",
    "lifecycle": "LifecycleConfiguration", "object-lock": "BucketObjectLockConfiguration",
    "publicAccessBlock": "BucketPublicAccessBlock", "ownershipControls": "BucketOwnershipControls",
}  # fmt: skip
_FACTS: Final = {"acl": "Acl", "tagging": "Tagging", "retention": "Retention", "legal-hold": "LegalHold"}
_PLAIN: Final[dict[type[Call], str]] = {
    calls.ListObjects: "ListBucket",
    calls.HeadBucket: "ListBucket",
    calls.ListVersions: "ListBucketVersions",
    calls.ListUploads: "ListBucketMultipartUploads",
    calls.DeleteBucket: "DeleteBucket",
    calls.DeleteObjects: "DeleteObject",
    calls.PostForm: "PutObject",
    calls.PutObject: "PutObject",
    calls.CopyObject: "PutObject",
    calls.CreateUpload: "PutObject",
    calls.UploadPart: "PutObject",
    calls.CopyPart: "PutObject",
    calls.CompleteUpload: "PutObject",
    calls.AbortUpload: "AbortMultipartUpload",
    calls.ListParts: "ListMultipartUploadParts",
}
_OF_VERSIONS: Final[dict[type[Call], str]] = {
    calls.GetObject: "GetObject",
    calls.GetAttributes: "GetObject",
    calls.DeleteObject: "DeleteObject",
}


def operation_of(call: Call) -> str:
    """The action of a policy that a call is; empty if no policy speaks of it."""
    kind = type(call)
    version = "Version" if "versionId" in call.query else ""
    what = requests.operation(call.query)
    word = ""
    if kind in _PLAIN:
        word = _PLAIN[kind]
    elif kind in _OF_VERSIONS:
        word = _OF_VERSIONS[kind] + version + ("Attributes" if kind is calls.GetAttributes else "")
    elif kind is calls.GetConfig:
        word = f"Get{_CONFIG[what]}"
    elif kind is calls.PutConfig or (kind is calls.DeleteConfig and what != "policy"):
        word = f"Put{_CONFIG[what]}"
    elif kind is calls.DeleteConfig:
        word = "DeleteBucketPolicy"
    elif kind in (calls.GetFacts, calls.PutFacts, calls.DeleteFacts):
        middle = version if what in ("acl", "tagging") else ""
        word = f"{kind.__name__.removesuffix('Facts')}Object{middle}{_FACTS[what]}"
    return f"s3:{word}" if word else ""


def words_of(call: Call, request: Request) -> Mapping[str, Sequence[str]]:
    """Values by condition key; what the request does not say is left out."""
    listed = {f"s3:{name}": [call.query[name]] for name in ("prefix", "delimiter", "max-keys") if name in call.query}
    told = {} if isinstance(call, calls.PostForm) else words_in(heads.table_of(request, call.query))
    return {**base.words_of(request), **listed, **told}  # what a form asks for stands in its fields


def words_in(table: Mapping[str, str]) -> Mapping[str, Sequence[str]]:
    """Those of headers, or of the fields of a form."""
    found: dict[str, Sequence[str]] = {f"s3:{name}": [text] for name, text in table.items() if name in HEADER_KEYS}
    if "acl" in table:
        found["s3:x-amz-acl"] = [table["acl"]]
    for read, name in ((tagging.header_tags, "x-amz-tagging"), (_form_tags, "tagging")):
        with suppress(S3Error):
            found |= words_of_tags(read(table[name])) if name in table else {}
    return found


def words_of_tags(tags: Mapping[str, str]) -> Mapping[str, Sequence[str]]:
    """Those of tags that are to be kept."""
    return {f"s3:RequestObjectTag/{key}": [tag] for key, tag in tags.items()}


def _form_tags(text: str) -> Mapping[str, str]:
    return tagging.read_tags(text.encode(), tagging.MAX_OBJECT_TAGS)
