"""What can be asked of `/v2/`: one value for each kind of call. `path` is the repository's name as it was written.

Strangers may ask for anything: services say what they may do.
"""

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from entrepot.principals import Action


@dataclass(frozen=True, slots=True)
class Ping:  # GET /v2/  200, and always 401 without credentials: clients read the challenge here
    """Is this a registry, and who am I?"""

    action: ClassVar = Action.LIST


@dataclass(frozen=True, slots=True)
class AskToken:  # GET, POST /v2/token  200
    """A token for a name and a password."""

    action: ClassVar = Action.OPEN


@dataclass(frozen=True, slots=True)
class ListRepositories:  # GET /v2/_catalog  200
    """The names the caller may read."""

    action: ClassVar = Action.LIST


@dataclass(frozen=True, slots=True)
class ListTags:  # GET tags/list  200
    """Tags in order."""

    path: str
    action: ClassVar = Action.LIST


@dataclass(frozen=True, slots=True)
class ListReferrers:  # GET referrers/<digest>  200
    """What refers to a manifest."""

    path: str
    digest: str
    action: ClassVar = Action.GET


@dataclass(frozen=True, slots=True)
class GetManifest:  # GET, HEAD manifests/<reference>  200 304
    """A manifest by tag or digest."""

    path: str
    reference: str
    action: ClassVar = Action.GET


@dataclass(frozen=True, slots=True)
class PutManifest:  # PUT manifests/<reference>  201
    """A manifest, with a tag or more."""

    path: str
    reference: str
    action: ClassVar = Action.CREATE


@dataclass(frozen=True, slots=True)
class DeleteManifest:  # DELETE manifests/<reference>  202
    """A tag is gone, or a manifest with all its tags."""

    path: str
    reference: str
    action: ClassVar = Action.DELETE


@dataclass(frozen=True, slots=True)
class GetBlob:  # GET, HEAD blobs/<digest>  200 206 304
    """Bytes."""

    path: str
    digest: str
    action: ClassVar = Action.GET


@dataclass(frozen=True, slots=True)
class DeleteBlob:  # DELETE blobs/<digest>  202
    """The repository does not have those bytes any more."""

    path: str
    digest: str
    action: ClassVar = Action.DELETE


@dataclass(frozen=True, slots=True)
class BeginUpload:  # POST blobs/uploads/  202, or 201 if no byte need be sent, or all came
    """Begin, resume or mount, or all in one."""

    path: str
    action: ClassVar = Action.CREATE


@dataclass(frozen=True, slots=True)
class Append:  # PATCH blobs/uploads/<id>  202
    """The next bytes."""

    path: str
    upload: str
    action: ClassVar = Action.CREATE


@dataclass(frozen=True, slots=True)
class EndUpload:  # PUT blobs/uploads/<id>?digest=  201
    """The last bytes, and the digest of all."""

    path: str
    upload: str
    action: ClassVar = Action.CREATE


@dataclass(frozen=True, slots=True)
class ShowUpload:  # GET, HEAD blobs/uploads/<id>  204
    """How far it is."""

    path: str
    upload: str
    action: ClassVar = Action.CREATE


@dataclass(frozen=True, slots=True)
class CancelUpload:  # DELETE blobs/uploads/<id>  204
    """Forget it."""

    path: str
    upload: str
    action: ClassVar = Action.CREATE


OfUpload: TypeAlias = Append | EndUpload | ShowUpload | CancelUpload
"""Their address is the right to them."""
Call: TypeAlias = (
    Ping | AskToken | ListRepositories | ListTags | ListReferrers | GetManifest | PutManifest | DeleteManifest
    | GetBlob | DeleteBlob | BeginUpload | OfUpload
)  # fmt: skip
