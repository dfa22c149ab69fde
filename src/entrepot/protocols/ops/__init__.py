"""Health, metrics, version: what operators and their tools ask."""

from entrepot.protocols.ops.endpoint import Ops, State

__all__ = ["Ops", "State"]
