"""S3, as AWS's clients speak it: signed requests and URLs, forms, XML."""

from entrepot.protocols.s3.endpoint import S3

__all__ = ["S3"]
