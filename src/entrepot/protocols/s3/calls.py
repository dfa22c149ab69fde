"""What an S3 client can ask for: one kind of call for each operation, with the least right it takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from entrepot.model import ObjectName
from entrepot.principals import Action


@dataclass(frozen=True, slots=True)
class Call:
    """A bucket, a key (empty: the bucket itself) and the query, decoded once."""

    bucket: str
    key: str
    query: Mapping[str, str]
    action: ClassVar[Action]


def name_of(call: Call) -> ObjectName:
    """What a call is about: in the caller's project, `project:bucket` exactly, else the oldest bucket of that name."""
    return named(call.bucket, call.key)


def named(bucket: str, key: str) -> ObjectName:
    """As `name_of`, for what stands elsewhere in a request."""
    project, colon, bare = bucket.rpartition(":")
    return ObjectName(bare, key, project) if colon else ObjectName(bucket, key, anywhere=True)


class ListBuckets(Call):  # GET /
    """The caller's buckets."""

    __slots__ = ()
    action = Action.KNOWN


class ListObjects(Call):  # GET /b[?list-type=2]
    """A page of live names."""

    __slots__ = ()
    action = Action.LIST


class ListVersions(Call):  # GET /b?versions
    """A page of versions and delete markers."""

    __slots__ = ()
    action = Action.LIST


class ListUploads(Call):  # GET /b?uploads
    """Open multipart uploads."""

    __slots__ = ()
    action = Action.LIST


class HeadBucket(Call):  # HEAD /b
    """Whether it is there and may be used."""

    __slots__ = ()
    action = Action.LIST


class CreateBucket(Call):  # PUT /b
    """Make a bucket."""

    __slots__ = ()
    action = Action.CREATE


class DeleteBucket(Call):  # DELETE /b
    """Remove an empty bucket."""

    __slots__ = ()
    action = Action.DELETE


class GetConfig(Call):  # GET /b?location|versioning|acl|policy|policyStatus|cors|tagging|lifecycle|…
    """One part of a bucket's configuration."""

    __slots__ = ()
    action = Action.LIST


class PutConfig(Call):  # PUT /b?…
    """Set one part of a bucket's configuration."""

    __slots__ = ()
    action = Action.OVERWRITE


class DeleteConfig(Call):  # DELETE /b?…
    """Unset one part of a bucket's configuration."""

    __slots__ = ()
    action = Action.OVERWRITE


class DeleteObjects(Call):  # POST /b?delete
    """Delete up to 1,000 names."""

    __slots__ = ()
    action = Action.DELETE


class PostForm(Call):  # POST /b
    """Put an object by a form; its proof is among the fields."""

    __slots__ = ()
    action = Action.CAPABILITY


class Preflight(Call):  # OPTIONS /b[/k]
    """Whether a page of another origin may ask."""

    __slots__ = ()
    action = Action.OPEN


class GetObject(Call):  # GET, HEAD /b/k
    """The bytes of an object."""

    __slots__ = ()
    action = Action.GET


class GetAttributes(Call):  # GET /b/k?attributes
    """Size, checksums and parts of an object."""

    __slots__ = ()
    action = Action.GET


class PutObject(Call):  # PUT /b/k
    """Put an object."""

    __slots__ = ()
    action = Action.CREATE


class CopyObject(Call):  # PUT /b/k, x-amz-copy-source
    """Point a name to the bytes of another."""

    __slots__ = ()
    action = Action.CREATE


class DeleteObject(Call):  # DELETE /b/k
    """Delete a name, or one version of it."""

    __slots__ = ()
    action = Action.DELETE


class GetFacts(Call):  # GET /b/k?acl|tagging|retention|legal-hold
    """What is kept beside an object's bytes."""

    __slots__ = ()
    action = Action.GET


class PutFacts(Call):  # PUT /b/k?…
    """Set what is kept beside an object's bytes."""

    __slots__ = ()
    action = Action.OVERWRITE


class DeleteFacts(Call):  # DELETE /b/k?tagging
    """Unset what is kept beside an object's bytes."""

    __slots__ = ()
    action = Action.OVERWRITE


class CreateUpload(Call):  # POST /b/k?uploads
    """Begin a multipart upload."""

    __slots__ = ()
    action = Action.CREATE


class UploadPart(Call):  # PUT /b/k?partNumber&uploadId
    """Send one part."""

    __slots__ = ()
    action = Action.CREATE


class CopyPart(Call):  # PUT /b/k?partNumber&uploadId, x-amz-copy-source
    """One part from the bytes of another object."""

    __slots__ = ()
    action = Action.CREATE


class ListParts(Call):  # GET /b/k?uploadId
    """The parts of an open upload."""

    __slots__ = ()
    action = Action.CREATE


class CompleteUpload(Call):  # POST /b/k?uploadId
    """Make an object of the parts."""

    __slots__ = ()
    action = Action.CREATE


class AbortUpload(Call):  # DELETE /b/k?uploadId
    """Forget an open upload."""

    __slots__ = ()
    action = Action.CREATE


class Unimplemented(Call):  # 501; 403 without a proof
    """What S3 has and this does not."""

    __slots__ = ()
    action = Action.KNOWN


AnyCall = (
    ListBuckets | ListObjects | ListVersions | ListUploads | HeadBucket | CreateBucket | DeleteBucket | GetConfig
    | PutConfig | DeleteConfig | DeleteObjects | PostForm | Preflight | GetObject | GetAttributes | PutObject
    | CopyObject | DeleteObject | GetFacts | PutFacts | DeleteFacts | CreateUpload | UploadPart | CopyPart | ListParts
    | CompleteUpload | AbortUpload | Unimplemented
)  # fmt: skip
