"""Singularity's registries: JSON and pages at `/registry/…`, `shub://`, and what `library://` needs. All are views."""

from entrepot.protocols.registry.endpoint import Registry

__all__ = ["Registry"]
