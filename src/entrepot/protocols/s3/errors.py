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
    "UnresolvableGrantByEmailAddress": 400,
    "XAmzContentSHA256Mismatch": 400,
}
"""Codes used here and their statuses. Source: AWS, "Error responses"."""


class S3Error(UsageError):
    """A refusal with a code that S3 clients know."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.s3_code = code
        self.status = _STATUS[code]


def invalid_argument(message: str) -> S3Error:
    """A header or query parameter that cannot be what it says."""
    return S3Error("InvalidArgument", message)


def invalid_request(message: str) -> S3Error:
    """A request that contradicts itself."""
    return S3Error("InvalidRequest", message)


def malformed_xml(message: str = "The XML you provided was not well-formed or did not validate") -> S3Error:
    """A body that is not the document its operation takes."""
    return S3Error("MalformedXML", message)
