"""S3's own words for what goes wrong where the general kinds of error have no row of their own."""

from typing import Final

from entrepot.errors import UsageError

_STATUS: Final = {
    "AccessControlListNotSupported": 400,
    "MissingSecurityHeader": 400,
    "AccessDenied": 403,
    "AccessForbidden": 403,
    "AuthorizationHeaderMalformed": 400,
    "AuthorizationQueryParametersError": 400,
    "BadDigest": 400,
    "BadRequest": 400,
    "BucketAlreadyExists": 409,
    "EntityTooLarge": 400,
    "EntityTooSmall": 400,
    "IncompleteBody": 400,
    "InvalidArgument": 400,
    "InvalidBucketName": 400,
    "InvalidBucketState": 409,
    "InvalidChunkSizeError": 403,
    "InvalidDigest": 400,
    "InvalidLocationConstraint": 400,
    "InvalidPart": 400,
    "InvalidPartNumber": 416,
    "InvalidPartOrder": 400,
    "InvalidPolicyDocument": 400,
    "InvalidRange": 416,
    "InvalidRequest": 400,
    "InvalidRetentionPeriod": 400,
    "InvalidTag": 400,
    "KeyTooLongError": 400,
    "MalformedACLError": 400,
    "MalformedPolicy": 400,
    "MalformedTrailerError": 400,
    "MalformedXML": 400,
    "MetadataTooLarge": 400,
    "MissingContentLength": 411,
    "MissingRequestBodyError": 400,
    "NoSuchBucketPolicy": 404,
    "NoSuchCORSConfiguration": 404,
    "NoSuchKey": 404,
    "NoSuchLifecycleConfiguration": 404,
    "NoSuchObjectLockConfiguration": 404,
    "NoSuchPublicAccessBlockConfiguration": 404,
    "NoSuchTagSet": 404,
    "NoSuchUpload": 404,
    "NoSuchVersion": 404,
    "NotImplemented": 501,
    "ObjectLockConfigurationNotFoundError": 404,
    "OwnershipControlsNotFoundError": 404,
    "PreconditionFailed": 412,
    "UnresolvableGrantByEmailAddress": 400,
    "XAmzContentSHA256Mismatch": 400,
}
"""Codes used here and their statuses. Source: AWS, "Error responses"."""


class S3Error(UsageError):
    """A refusal with a code that S3 clients know, AWS's words for it, and the elements that follow them."""

    def __init__(self, code: str, message: str, *details: tuple[str, object]) -> None:
        super().__init__(message)
        self.s3_code = code
        self.status = _STATUS[code]
        self.details = details


def invalid_argument(message: str, name: str = "", value: str = "") -> S3Error:
    """A header or query parameter that cannot be what it says; which one, if that is not plain from the message."""
    return S3Error("InvalidArgument", message, *([("ArgumentName", name), ("ArgumentValue", value)] if name else []))


def invalid_bucket_name() -> S3Error:
    """A bucket that nobody can have."""
    return S3Error("InvalidBucketName", "The specified bucket is not valid.")


def invalid_request(message: str) -> S3Error:
    """A request that contradicts itself."""
    return S3Error("InvalidRequest", message)


_MALFORMED: Final = "The XML you provided was not well-formed or did not validate against our published schema"


def malformed_xml(message: str = _MALFORMED) -> S3Error:
    """A body that is not the document its operation takes."""
    return S3Error("MalformedXML", message)


def malformed_trailer() -> S3Error:
    """A trailer that was not announced, does not come, or cannot be read."""
    message = "The request contained trailing data that was not well-formed or did not conform to our published schema."
    return S3Error("MalformedTrailerError", message)


def cut_short() -> S3Error:
    """A body that is not whole."""
    return S3Error("IncompleteBody", "The request body terminated unexpectedly")


def another_length(provided: int, expected: int) -> S3Error:
    """A body of another length than was announced, both in bytes."""
    return S3Error(
        "IncompleteBody",
        "You did not provide the number of bytes specified by the Content-Length HTTP header",
        ("NumberBytesExpected", expected),
        ("NumberBytesProvided", provided),
    )
