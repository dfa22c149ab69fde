"""The PROMINENCE data API: signed URLs for uploads, lists, deletes. The bytes go to the S3 URLs it hands out."""

from entrepot.protocols.data.endpoint import Data

__all__ = ["Data"]
