"""Object lock: a bucket's default, an object's retention and legal hold, and what they forbid.

read_lock_configuration(b"<ObjectLockConfiguration>…") -> {"mode": "GOVERNANCE", "days": 1}, {} without a default
read_retention(b"<Retention>…", now) -> {"mode": "COMPLIANCE", "until": 1893456000.0}
header_lock(mode, until, hold, now) -> (retention or None, True | False | None)

`until` and `now` are seconds since the epoch, kept to the millisecond that is shown. A retention ends at `until`.
Source: s3.md 2.9; AWS, "Using S3 Object Lock", "Managing Object Lock"; codes and texts as AWS answers them, but for
InvalidRetentionPeriod, which ceph/s3-tests wants (AWS: InvalidArgument).
"""

import math
import re
from datetime import UTC, datetime
from typing import Final, NotRequired, TypedDict

from entrepot.model import Instant
from entrepot.protocols.base import Header
from entrepot.protocols.s3 import xml
from entrepot.protocols.s3.errors import S3Error, invalid_argument, malformed_xml
from entrepot.protocols.s3.xml import Node

MODES: Final = frozenset({"GOVERNANCE", "COMPLIANCE"})
MAX_DAYS: Final = 36_500
MAX_YEARS: Final = 100
_DAY_SECONDS: Final = 86_400
_YEAR_10000: Final = 253_402_300_800_000
_WHOLE: Final = re.compile(r"-?[0-9]{1,10}\Z")
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z\Z", re.ASCII)


class LockConfiguration(TypedDict):
    """What new objects get: nothing, or a mode for so many days or years."""

    mode: NotRequired[str]
    days: NotRequired[int]
    years: NotRequired[int]


class Retention(TypedDict):
    """Until when a version is kept, and how firmly."""

    mode: str
    until: Instant


def read_lock_configuration(data: bytes) -> LockConfiguration:
    """The default of an ObjectLockConfiguration. Raises: S3Error MalformedXML, InvalidRetentionPeriod."""
    root = xml.read(data, "ObjectLockConfiguration").only("ObjectLockEnabled", "Rule")
    if root.text_of("ObjectLockEnabled") != "Enabled":
        raise malformed_xml()
    if not root.all("Rule"):
        return {}
    default = root.one("Rule").only("DefaultRetention").one("DefaultRetention").only("Mode", "Days", "Years")
    mode = _mode(default)
    if bool(default.all("Days")) == bool(default.all("Years")):
        raise malformed_xml()
    if default.all("Days"):
        return {"mode": mode, "days": _period(default, "Days", MAX_DAYS)}
    return {"mode": mode, "years": _period(default, "Years", MAX_YEARS)}


def write_lock_configuration(config: LockConfiguration) -> bytes:
    """The ObjectLockConfiguration document."""
    period = ("Days", config["days"]) if "days" in config else ("Years", config.get("years"))
    rule = ("Rule", ("DefaultRetention", ("Mode", config["mode"]), period)) if "mode" in config else None
    return xml.document("ObjectLockConfiguration", ("ObjectLockEnabled", "Enabled"), rule)


def read_retention(data: bytes, now: Instant) -> Retention | None:
    """The Retention document; None if it is empty, which takes the retention off.

    Raises: S3Error MalformedXML; InvalidArgument for a date that is not in the future.
    """
    root = xml.read(data, "Retention").only("Mode", "RetainUntilDate")
    if not root.children:
        return None
    mode = _mode(root)
    until = _instant(root.text_of("RetainUntilDate"))
    if until is None:
        raise malformed_xml()
    return {"mode": mode, "until": _future(until, now)}


def write_retention(retention: Retention) -> bytes:
    """The Retention document."""
    return xml.document("Retention", ("Mode", retention["mode"]), ("RetainUntilDate", _shown(retention["until"])))


def read_legal_hold(data: bytes) -> bool:
    """Whether a LegalHold document puts a hold on. Raises: S3Error MalformedXML."""
    status = xml.read(data, "LegalHold").only("Status").text_of("Status")
    if status not in ("ON", "OFF"):
        raise malformed_xml()
    return status == "ON"


def write_legal_hold(hold: bool) -> bytes:
    """The LegalHold document."""
    return xml.document("LegalHold", ("Status", _on(hold)))


def header_lock(
    mode: str | None, until: str | None, hold: str | None, now: Instant
) -> tuple[Retention | None, bool | None]:
    """What x-amz-object-lock-mode, -retain-until-date and -legal-hold of a write ask for; None: they say nothing.

    Raises: S3Error InvalidArgument.
    """
    if hold not in (None, "ON", "OFF"):
        raise invalid_argument("Legal Hold must be either of 'ON' or 'OFF'")
    held = None if hold is None else hold == "ON"
    if mode is None and until is None:
        return None, held
    if mode is None or until is None:
        raise invalid_argument("x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied.")
    if mode not in MODES:
        raise invalid_argument("Unknown wormMode directive.")
    at = _instant(until)
    if at is None:
        raise invalid_argument("The retain until date must be provided in ISO 8601 format")
    return {"mode": mode, "until": _future(at, now)}, held


def lock_headers(retention: Retention | None, hold: bool | None) -> list[Header]:
    """The x-amz-object-lock-* headers of GET and HEAD."""
    found: list[Header] = []
    if retention is not None:
        found.append((b"x-amz-object-lock-mode", retention["mode"].encode()))
        found.append((b"x-amz-object-lock-retain-until-date", _shown(retention["until"]).encode()))
    if hold is not None:
        found.append((b"x-amz-object-lock-legal-hold", _on(hold).encode()))
    return found


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


def _mode(node: Node) -> str:
    mode = node.text_of("Mode")
    if mode not in MODES:
        raise malformed_xml()
    return mode


def _period(node: Node, name: str, most: int) -> int:
    text = node.text_of(name).strip()
    if not _WHOLE.match(text):
        raise malformed_xml()
    if int(text) < 1:
        raise S3Error("InvalidRetentionPeriod", "Default retention period must be a positive integer value.")
    if int(text) > most:
        raise S3Error("InvalidRetentionPeriod", "Default retention period too large.")
    return int(text)


def _instant(text: str) -> Instant | None:
    """The time, rounded up to the millisecond: a lock that was shown and is sent back is not shorter."""
    found = _TIME.match(text)
    if found is None:
        return None
    try:
        seconds = int(datetime.fromisoformat(f"{found[1]}+00:00").timestamp())
    except ValueError:
        return None
    nanoseconds = int((found[2] or "").ljust(9, "0"))
    milliseconds = seconds * 1000 - (-nanoseconds // 1_000_000)
    return milliseconds / 1000 if milliseconds < _YEAR_10000 else None


def _future(until: Instant, now: Instant) -> Instant:
    if until <= now:
        raise invalid_argument("The retain until date must be in the future!")
    return until


def _shown(at: Instant) -> str:
    milliseconds = round(at * 1000)
    whole = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03}Z"


def _on(hold: bool) -> str:
    return "ON" if hold else "OFF"
