"""What keeps a version from being deleted: a retention until some time, or a legal hold.

GOVERNANCE can be passed over by who may and says so; COMPLIANCE by nobody. Source: AWS, "Using S3 Object Lock".
"""

import math
from datetime import UTC, datetime
from typing import Final, NotRequired, TypedDict

from entrepot.model import Instant

_DAY_SECONDS: Final = 86_400


class LockConfiguration(TypedDict):
    """What new objects get: nothing, or a mode for so many days or years."""

    mode: NotRequired[str]
    days: NotRequired[int]
    years: NotRequired[int]


class Retention(TypedDict):
    """Until when a version is kept, and how firmly."""

    mode: str
    until: Instant


def default_retention(config: LockConfiguration, now: Instant) -> Retention | None:
    """What an object made `now` gets if its request names no retention. A year ends on the same day of the calendar."""
    if "mode" not in config:
        return None
    now = math.ceil(now * 1000) / 1000
    if "days" in config:
        return {"mode": config["mode"], "until": now + config["days"] * _DAY_SECONDS}
    made = datetime.fromtimestamp(now, UTC)
    year = made.year + config.get("years", 0)
    try:
        until = made.replace(year=year)
    except ValueError:  # the 29th of February
        until = made.replace(year=year, month=3, day=1)
    return {"mode": config["mode"], "until": until.timestamp()}


def is_locked(retention: Retention | None, hold: bool | None, now: Instant, bypass_governance: bool) -> bool:
    """Whether a version may not be deleted. `bypass_governance`: it was asked for, by one who may."""
    if hold:
        return True
    if retention is None or retention["until"] <= now:
        return False
    return retention["mode"] == "COMPLIANCE" or not bypass_governance


def may_change(old: Retention | None, new: Retention | None, now: Instant, bypass_governance: bool) -> bool:
    """Whether `new` may take the place of `old`: longer always, weaker by bypass, COMPLIANCE never weaker."""
    if old is None or old["until"] <= now:
        return True
    if new is not None and new["mode"] == old["mode"] and new["until"] >= old["until"]:
        return True
    return old["mode"] == "GOVERNANCE" and bypass_governance
