"""S3, as far as signed URLs and forms need it: GET, HEAD and PUT of an object, POST of a form."""

from entrepot.protocols.s3.endpoint import S3

__all__ = ["S3"]
