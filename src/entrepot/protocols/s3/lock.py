"""Object lock: a bucket's default, an object's retention and legal hold, and what they forbid.

read_lock_configuration(b"<ObjectLockConfiguration>…") -> {"mode": "GOVERNANCE", "days": 1}, {} without a default
read_retention(b"<Retention>…", now) -> {"mode": "COMPLIANCE", "until": 1893456000.0}
header_lock(mode, until, hold, now) -> (retention or None, True | False | None)

`until` and `now` are seconds since the epoch, kept to the millisecond that is shown. A retention ends at `until`.
Source: s3.md 2.9; AWS, "Using S3 Object Lock", "Managing Object Lock"; codes and texts as AWS answers them, but for
InvalidRetentionPeriod, which ceph/s3-tests wants (AWS: InvalidArgument).
"""

import re
from datetime import UTC, datetime
from typing import Final

from entrepot.model import Instant
from entrepot.protocols.base import Header
from entrepot.protocols.s3 import xml
from entrepot.protocols.s3.errors import S3Error, invalid_argument, malformed_xml
from entrepot.protocols.s3.xml import Node
from entrepot.services.retention import LockConfiguration, Retention

MODES: Final = frozenset({"GOVERNANCE", "COMPLIANCE"})
MAX_DAYS: Final = 36_500
MAX_YEARS: Final = 100
_YEAR_10000: Final = 253_402_300_800_000
_WHOLE: Final = re.compile(r"-?[0-9]{1,10}\Z")
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z\Z", re.ASCII)


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
