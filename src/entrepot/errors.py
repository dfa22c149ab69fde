"""Every way a call can be refused, in the store's words and without status codes.

    EntrepotError
    ├── UsageError           the call itself is wrong
    │   ├── BadName          a name that cannot be one
    │   │   ├── NameTooLong
    │   │   └── BadDigest
    │   ├── BadRange         a range outside the bytes
    │   │   └── NoSuchRange, WrongOffset
    │   ├── BadRequest       a message that cannot be read
    │   │   └── BadManifest  an image manifest that cannot be kept
    │   └── BodyCut          the connection ended before the body did
    ├── NotFound             it is not there, or the caller may not know of it
    │   ├── NoBucket         not even the bucket
    │   ├── NoManifest, NoBlob, NoUpload, NoVersion
    │   └── Hidden           it may be there; the caller may not know
    ├── Denied               known, but not allowed
    │   └── Unauthenticated  no proof, or a wrong one
    ├── Unavailable          it may work later
    │   └── Busy             too much at once
    │       └── TooOften     too much from this caller
    ├── DigestMismatch       the bytes are not the ones that were promised
    ├── Conflict             it exists and differs, or a condition does not hold
    │   └── PreconditionFailed
    ├── LimitReached
    │   ├── TooLarge
    │   ├── QuotaExceeded
    │   └── DiskFull
    └── Refused
        ├── Unsupported      a request this server understands and does not do
        └── ReadOnly         shown here, changed elsewhere

Each kind has a `code`, one word for programs. Each protocol has one table from these classes to its own statuses and
codes, looked up by the nearest ancestor.
"""

from collections.abc import Sequence


class EntrepotError(Exception):
    """A call that was refused: what happened, and if known why, and what to try. Never holds a secret or a path."""

    code = "failed"
    """One word for programs, of its kind or of the nearest ancestor that has one."""

    def __init__(self, what: str = "", *, why: str = "", advice: str = "") -> None:
        super().__init__(what)
        self.what = what or type(self).__name__
        self.why = why
        self.advice = advice

    def __str__(self) -> str:
        return "; ".join(part for part in (self.what, self.why, self.advice) if part)


class UsageError(EntrepotError):
    """The call itself is wrong; sending it again will not help."""

    code = "usage"


class BadName(UsageError):
    """A name, digest or key that cannot be one."""


class NameTooLong(BadName):
    """A name of `size` bytes, where at most `most` are kept."""

    def __init__(self, what: str, size: int = 0, most: int = 0) -> None:
        super().__init__(what, why=f"it has {size} bytes of UTF-8, {most} are kept at most")
        self.size = size
        self.most = most


class BadDigest(BadName):
    """A digest that cannot be one."""


class BadRange(UsageError):
    """A range or offset outside the bytes there are."""


class NoSuchRange(BadRange):
    """A range that is not within the `size` bytes there are."""

    def __init__(self, size: int) -> None:
        super().__init__(f"no such range in {size} bytes")
        self.size = size


class BadRequest(UsageError):
    """A message that cannot be read: broken JSON, form, header or query."""


class WrongOffset(BadRange):
    """Bytes for another place than the one an upload has come to, which is `offset`; none of them was kept."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"the upload holds {offset} bytes", advice="go on from there")
        self.offset = offset


class BadManifest(BadRequest):
    """An image manifest that cannot be kept as it is."""


class WrongSize(BadManifest):
    """A size that is not the one of the bytes."""


class MissingReferences(BadManifest):
    """An image manifest names bytes that are not in its repository: `digests`."""

    def __init__(self, digests: Sequence[str]) -> None:
        super().__init__("the manifest names what this repository does not have", advice="push it first")
        self.digests = digests


class BadPart(BadRequest):
    """The bytes of a part of an upload are not what they were when it was acknowledged."""


class BodyCut(BadRequest):
    """The connection ended before the body did. What came is kept only where uploads resume."""


class NotFound(EntrepotError):
    """It is not there, or the caller may not know of it."""

    code = "not-found"


class NoBucket(NotFound):
    """There is no such bucket."""


class Hidden(NotFound):
    """The caller has no right to know whether it is there. Said exactly as `NotFound`, but for S3."""


class NoManifest(NotFound):
    """The repository has no such tag or manifest."""


class NoBlob(NotFound):
    """The repository has no such bytes."""


class NoUpload(NotFound):
    """There is no such upload: it was completed, aborted, or never was."""


class NoVersion(NotFound):
    """The name has no such version."""


class Deleted(NotFound):
    """The newest version of the name says that it was deleted; `version` is that marker's id."""

    def __init__(self, version: str) -> None:
        super().__init__("no such object")
        self.version = version


class MarkerAsked(NotFound):
    """The version that was asked for says that the name was deleted; it has no bytes."""

    def __init__(self, version: str) -> None:
        super().__init__("this version is a delete marker")
        self.version = version


class Denied(EntrepotError):
    """The caller knows of it and may not do this."""

    code = "denied"


class Unauthenticated(Denied):
    """No proof of who is calling, or a wrong, expired or revoked one."""


class Locked(Denied):
    """A lock keeps it as it is: a retention date or a legal hold."""


class Unavailable(EntrepotError):
    """It may work later."""

    code = "temporary"


class Busy(Unavailable):
    """Too much at once; try again after `retry_after_seconds`."""

    def __init__(self, what: str = "", *, why: str = "", advice: str = "", retry_after_seconds: int = 2) -> None:
        super().__init__(what, why=why, advice=advice)
        self.retry_after_seconds = retry_after_seconds


class TooOften(Busy):
    """This caller asks too often; others may go on."""


class DigestMismatch(EntrepotError):
    """The bytes are not the ones that were promised; nothing was kept. `algorithm` names the checksum that differs.

    `found` is the one of the bytes, `claimed` the one that was promised, both in hex.
    """

    code = "checksum"

    def __init__(
        self,
        what: str = "",
        *,
        why: str = "",
        advice: str = "",
        algorithm: str = "",
        found: str = "",
        claimed: str = "",
    ) -> None:
        super().__init__(what, why=why, advice=advice)
        self.algorithm = algorithm
        self.found = found
        self.claimed = claimed


class Conflict(EntrepotError):
    """It exists and differs, or may not change."""

    code = "conflict"


class InUse(Conflict):
    """It cannot go while `users` name it."""

    def __init__(self, what: str = "", users: Sequence[str] = ()) -> None:
        super().__init__(what, advice="delete first what names it")
        self.users = users


class BucketNotEmpty(Conflict):
    """Only an empty bucket can go."""


class PreconditionFailed(Conflict):
    """A condition of the request (If-Match, If-None-Match) does not hold."""


class NothingToReplace(PreconditionFailed):
    """The request names the version it replaces, and there is nothing at all."""


class LimitReached(EntrepotError):
    """A limit of size, number or room."""

    code = "limit"


class TooLarge(LimitReached):
    """More bytes or items than this call may carry."""


class QuotaExceeded(LimitReached):
    """The project has no room for it."""


class DiskFull(LimitReached):
    """The server has no room for it; reading and deleting go on."""


class Refused(EntrepotError):
    """Understood, and not done."""

    code = "refused"


class Unsupported(Refused):
    """A request this server understands and does not carry out."""


class ReadOnly(Refused):
    """It is shown here, and changed elsewhere."""
