"""A request in the words of bucket policies: its operation, and what a condition may ask of it. Source: AWS, "Actions,
resources, and condition keys for Amazon S3".
"""

from collections.abc import Mapping, Sequence
from typing import Final

from entrepot.auth.bucket_policy import HEADER_KEYS
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
    found: dict[str, Sequence[str]] = {"aws:SecureTransport": [str(request.scheme == "https").lower()]}
    if request.address:
        found["aws:SourceIp"] = [request.address]
    for name in ("prefix", "delimiter", "max-keys"):
        if name in call.query:
            found[f"s3:{name}"] = [call.query[name]]
    for name, text in heads.table_of(request, call.query).items():
        if name in HEADER_KEYS:
            found[f"s3:{name}"] = [text]
        elif name == "referer":
            found["aws:Referer"] = [text]
        elif name == "x-amz-tagging":
            found |= {f"s3:RequestObjectTag/{key}": [tag] for key, tag in _tags(text).items()}
    return found


def _tags(text: str) -> Mapping[str, str]:
    try:
        return tagging.header_tags(text)
    except S3Error:
        return {}
