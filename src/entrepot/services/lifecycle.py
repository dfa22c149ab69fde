"""Lifecycle rules: what each governs, and when it expires. Pure; a job carries them out.

All `…_at` take and give seconds since the epoch, None for never, and ask `applies` first. Days are counted from the
moment a thing was made (a noncurrent version: was replaced) and rounded up to midnight, as AWS does.
"""

import math
from collections.abc import Mapping
from typing import Final, Literal, NotRequired, TypedDict

from entrepot.model import Instant

_DAY_SECONDS: Final = 86_400
_LAST_DAY: Final = 253_402_214_400.0
"""9999-12-31, the last midnight that a date can be."""


class Rule(TypedDict):
    """A rule as it is stored: what it governs, then what it does."""

    id: str
    enabled: bool
    form: Literal["prefix", "filter", "and"]
    """How it was written: `Prefix`, `Filter` with one condition or none, `Filter` with `And`."""
    prefix: NotRequired[str]
    tags: dict[str, str]
    larger_than: NotRequired[int]
    smaller_than: NotRequired[int]
    days: NotRequired[int]
    date: NotRequired[Instant]
    lone_markers: NotRequired[bool]
    noncurrent_days: NotRequired[int]
    kept_versions: NotRequired[int]
    upload_days: NotRequired[int]


def applies(rule: Rule, key: str, tags: Mapping[str, str], size: int) -> bool:
    """Whether the rule is on and governs that object. Delete markers and uploads have no tags and size 0."""
    return (
        rule["enabled"]
        and key.startswith(rule.get("prefix", ""))
        and all(tags.get(name) == value for name, value in rule["tags"].items())
        and size > rule.get("larger_than", -1)
        and ("smaller_than" not in rule or size < rule["smaller_than"])
    )


def expires_at(rule: Rule, created_at: Instant) -> Instant | None:
    """When the current version expires."""
    return rule["date"] if "date" in rule else _midnight_after(created_at, rule.get("days"))


def noncurrent_expires_at(rule: Rule, noncurrent_since: Instant, newer: int) -> Instant | None:
    """When a replaced version is deleted. `newer`: how many noncurrent versions of its key are newer than it."""
    if newer < rule.get("kept_versions", 0):
        return None
    return _midnight_after(noncurrent_since, rule.get("noncurrent_days"))


def marker_expires_at(rule: Rule, created_at: Instant) -> Instant | None:
    """When a delete marker with no versions left under it is deleted: at once if the rule says so, else by age."""
    return created_at if rule.get("lone_markers") else expires_at(rule, created_at)


def upload_expires_at(rule: Rule, initiated_at: Instant) -> Instant | None:
    """When a multipart upload that was not completed is aborted."""
    return _midnight_after(initiated_at, rule.get("upload_days"))


def _midnight_after(start: Instant, days: int | None) -> Instant | None:
    if days is None:
        return None
    return min(_LAST_DAY, float(math.ceil(start / _DAY_SECONDS + days) * _DAY_SECONDS))
