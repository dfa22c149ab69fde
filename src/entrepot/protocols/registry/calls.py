"""What can be asked of the Singularity views: one value for each kind of call. All of them only read."""

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from entrepot.principals import Action


@dataclass(frozen=True, slots=True)
class ListCollections:  # GET /registry/  200
    """The repositories the caller may read."""

    action: ClassVar = Action.LIST


@dataclass(frozen=True, slots=True)
class ShowCollection:  # GET /registry/<name>/  200
    """A page for people, or its JSON: what each tag is, and how to get it."""

    name: str
    action: ClassVar = Action.LIST


@dataclass(frozen=True, slots=True)
class ShowTree:  # GET /registry/<name>/?static=<base URL>[&linked=1]  200
    """Which files a tree of it at that URL has; `entrepot export-static` writes them."""

    name: str
    action: ClassVar = Action.LIST


@dataclass(frozen=True, slots=True)
class ListTags:  # GET /registry/<name>/tags  200
    """All tags."""

    name: str
    action: ClassVar = Action.LIST


@dataclass(frozen=True, slots=True)
class ShowManifest:  # GET /registry/<name>/manifests/<reference>  200
    """The manifest of the seed."""

    name: str
    reference: str
    action: ClassVar = Action.GET


@dataclass(frozen=True, slots=True)
class ShowDefinition:  # GET /registry/<name>/manifests/<reference>/Singularity  200
    """The definition file a SIF was built from."""

    name: str
    reference: str
    action: ClassVar = Action.GET


@dataclass(frozen=True, slots=True)
class GetFile:  # GET /registry/files/<folders>/<64 hex>[.<ending>]  200 206 304
    """Bytes the caller may read under some name; folders are not looked at."""

    digest: str
    file: str
    action: ClassVar = Action.GET


@dataclass(frozen=True, slots=True)
class ShowContainer:  # GET /api/container/<user>/<name>[:<tag>][@<id>]  200
    """What shub:// pulls."""

    name: str
    tag: str
    id: str
    action: ClassVar = Action.GET


@dataclass(frozen=True, slots=True)
class ShowServices:  # GET /assets/config/config.prod.json  200
    """Where a remote has its library, tokens and keys."""

    action: ClassVar = Action.OPEN


@dataclass(frozen=True, slots=True)
class CheckToken:  # GET /v1/token-status  200 404
    """Whether the token is one."""

    action: ClassVar = Action.LIST


@dataclass(frozen=True, slots=True)
class ShowImage:  # GET /v1/images/<path>:<tag>?arch=  200
    """What library:// asks before it pulls."""

    name: str
    tag: str
    action: ClassVar = Action.GET


@dataclass(frozen=True, slots=True)
class GetImageFile:  # GET /v1/imagefile/<path>:<tag>?arch=  303
    """Where its bytes are."""

    name: str
    tag: str
    action: ClassVar = Action.GET


@dataclass(frozen=True, slots=True)
class AskRedirect:  # GET /v1/oci-redirect?namespace=&accessTypes=  200 404
    """Whether to push by OCI, and as whom."""

    action: ClassVar = Action.GET


@dataclass(frozen=True, slots=True)
class Search:  # GET /v1/search?value=&arch=  200
    """Images by a part of their name."""

    action: ClassVar = Action.LIST


@dataclass(frozen=True, slots=True)
class ShowNothing:  # GET 404, POST 403 /v1/{entities,collections,containers,tags}/…
    """What library clients of old made before a push; here a push makes all it needs."""

    posted: bool
    action: ClassVar = Action.OPEN


Call: TypeAlias = (
    ListCollections | ShowCollection | ShowTree | ListTags | ShowManifest | ShowDefinition | GetFile | ShowContainer
    | ShowServices | CheckToken | ShowImage | GetImageFile | AskRedirect | Search | ShowNothing
)  # fmt: skip
Page: TypeAlias = ListCollections | ShowCollection | ShowTree | ListTags | ShowManifest | ShowDefinition | GetFile
"""Those at `/registry/`."""
