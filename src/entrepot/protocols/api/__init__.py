"""`/api/v1`: our own client, the node cache, `curl -T`."""

from entrepot.protocols.api.endpoint import Api

__all__ = ["Api"]
