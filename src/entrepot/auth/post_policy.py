"""POST forms for browsers and PROMINENCE: who signed the policy, what it allows, and making one. Text in, values out.

    find_proof(fields)  ->  verify(proof, its secret, now)  ->  check(policy, fields, bucket, now)

`now` and `expires_at` are seconds since the epoch. A form that cannot be read is BadForm, its policy BadPolicy, one
that is not allowed BadProof.

Source: AWS S3, "Browser-Based Uploads Using POST"; botocore `generate_presigned_post` for what our own forms look like.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from entrepot.auth import sigv2, sigv4
from entrepot.auth.sigv2 import BadForm, BadProof, Expired, SignedTwice, WrongSignature, form_table
from entrepot.auth.sigv4 import ALGORITHM, DEFAULT_REGION, MAX_EXPIRES_SECONDS, Credential
from entrepot.errors import BadRequest
from entrepot.model import Instant, utc_text
from entrepot.strict_json import read_object

Fields = Sequence[tuple[str, str]]
"""The form's fields before `file`, in order, names in any case."""

MAX_POLICY_BYTES: Final = 20 * 1024
UNCONDITIONED: Final = frozenset({"file", "policy", "signature", "x-amz-signature", "awsaccesskeyid"})
"""Fields that need no condition, beside those that begin with `_FREE`."""
_FREE: Final = ("x-ignore-", "x-amz-checksum-")

_EXPIRATION: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,9})?Z\Z", re.ASCII)
_V4_WORDS: Final = ("x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature", "policy")


class BadPolicy(BadRequest):
    """A policy that cannot be read."""


@dataclass(frozen=True, slots=True)
class FormProof:
    """The V4 signature of a form; it covers the base64 text of the policy as sent."""

    credential: Credential
    date: str
    signature: str = field(repr=False)
    policy: str = field(repr=False)

    @property
    def access_key(self) -> str:
        """The access key id whose secret must have signed."""
        return self.credential.access_key


@dataclass(frozen=True, slots=True)
class Policy:
    """What a form may send: a file of `min_size` to `max_size` bytes (None: any), if it began before `expires_at`."""

    expires_at: Instant
    min_size: int = 0
    max_size: int | None = None


@dataclass(frozen=True, slots=True)
class _Condition:
    """One demand on a field: the very value, or how it begins."""

    name: str
    value: str
    exact: bool

    def holds(self, sent: str) -> bool:
        if self.exact:
            return sent == self.value
        # S3 reads a Content-Type with commas as a list, each of which must begin like this.
        parts = [part.strip() for part in sent.split(",")] if self.name == "content-type" else [sent]
        return all(part.startswith(self.value) for part in parts)


def find_proof(fields: Fields) -> FormProof | sigv2.FormProof | None:
    """The one proof of a form, V4 or V2, None if it has neither policy nor signature.

    Raises: SignedTwice; BadForm for a field twice, over 100 fields or 64 KiB, an incomplete proof.
    """
    table = form_table(fields)
    new, old = _parse_v4(table), sigv2.parse_form(table)
    if new and old:
        raise SignedTwice("the form is signed twice", advice="sign it with V4 alone")
    if "policy" in table and not (new or old):
        raise BadForm("the form has a policy but no signature")
    return new or old


def verify(proof: FormProof | sigv2.FormProof, secret: str, now: Instant, region: str = DEFAULT_REGION) -> None:
    """Nothing, if `secret` signed this policy text, for V4 less than 7 days ago.

    Raises: WrongSignature, Expired, ClockSkewed (all BadProof); BadForm for another scope.
    """
    match proof:
        case sigv2.FormProof():
            sigv2.verify_form(proof, secret)
        case FormProof(credential, date, signature, policy):
            sigv4.check_lifetime(sigv4.scoped_time(credential, date, BadForm, region), MAX_EXPIRES_SECONDS, now)
            if not sigv4.is_signature(signature, secret, credential, policy.encode()):
                raise WrongSignature(policy.encode(), credential.access_key, signature)


def check(policy_base64: str, fields: Fields, bucket: str, now: Instant) -> Policy:
    """What the policy allows, if it allows these fields into `bucket` (the one in the path) now.

    Give `key` with `${filename}` already filled in, so that conditions hold for the real name. The size is for whoever
    reads the file. Raises: BadPolicy; Expired, BadProof if it does not allow the form.
    """
    document = _document(policy_base64)
    expires_at = _expiration(document["expiration"])
    conditions, policy = _conditions(document["conditions"], expires_at)
    if now >= expires_at:
        raise Expired("the form's policy has expired", advice="ask for a new form")
    sent = form_table(fields)
    sent_names = {name for name in sent if name not in UNCONDITIONED and not name.startswith(_FREE)}
    if extra := sorted((sent_names | {"bucket"}) - {condition.name for condition in conditions}):
        raise BadProof(f"the policy has no condition for {', '.join(extra)}")
    if sent.get("bucket", bucket) != bucket:
        raise BadProof("the form names another bucket than its path")
    values = {**sent, "bucket": bucket}
    for condition in conditions:
        if condition.name not in values or not condition.holds(values[condition.name]):
            raise BadProof(f"the form does not meet the policy's condition for {condition.name!r}")
    return policy


def make_v2(
    fields: Mapping[str, str], bucket: str, key: str, access: str, secret: str, expires_at: Instant
) -> dict[str, str]:
    """The fields of a V2-signed form, in the order clients were measured to get them; `fields` are exact conditions."""
    policy = _encoded(expires_at, [*_exactly(fields), {"bucket": bucket}, {"key": key}])
    signature = sigv2.sign(secret, policy.encode())
    return {**fields, "key": key, "AWSAccessKeyId": access, "policy": policy, "signature": signature}


def make_v4(
    fields: Mapping[str, str],
    bucket: str,
    key: str,
    access: str,
    secret: str,
    expires_at: Instant,
    now: Instant,
    region: str = DEFAULT_REGION,
) -> dict[str, str]:
    """The fields of a V4-signed form; it ends 7 days from now, whatever `expires_at` says."""
    date = sigv4.amz_date(now)
    credential = Credential(access, date[:8], region)
    own = {
        "x-amz-algorithm": ALGORITHM,
        "x-amz-credential": f"{access}/{credential.scope}",
        "x-amz-date": date,
    }
    policy = _encoded(expires_at, [*_exactly(fields), {"bucket": bucket}, {"key": key}, *_exactly(own)])
    signature = sigv4.sign(secret, credential, policy.encode())
    return {**fields, "key": key, **own, "policy": policy, "x-amz-signature": signature}


def _parse_v4(table: Mapping[str, str]) -> FormProof | None:
    if "x-amz-signature" not in table and "x-amz-algorithm" not in table:
        return None
    algorithm, credential, date, signature, policy = (table.get(name, "") for name in _V4_WORDS)
    if algorithm != ALGORITHM or not (signature and policy):
        raise BadForm(f"a V4 form has {', '.join(_V4_WORDS)}")
    return FormProof(Credential.parse(credential, BadForm), date, signature, policy)


def _exactly(fields: Mapping[str, str]) -> list[dict[str, str]]:
    return [{name: value} for name, value in fields.items()]


def _encoded(expires_at: Instant, conditions: Sequence[Mapping[str, str]]) -> str:
    return base64.b64encode(
        json.dumps({"expiration": utc_text(expires_at), "conditions": conditions}).encode()
    ).decode()


def _malformed(why: str) -> BadPolicy:
    return BadPolicy("the policy cannot be read", why=why)


def _document(policy_base64: str) -> dict[str, Any]:
    if len(policy_base64) > MAX_POLICY_BYTES * 4 // 3:
        raise _malformed(f"it has more than {MAX_POLICY_BYTES} bytes")
    try:
        document = read_object(base64.b64decode(policy_base64, validate=True))
    except ValueError as error:
        raise _malformed("it is not base64 of a JSON object") from error
    if document.keys() != {"expiration", "conditions"}:
        raise _malformed("it has expiration and conditions, and nothing else")
    return document


def _expiration(text: object) -> Instant:
    found = _EXPIRATION.match(text) if isinstance(text, str) else None
    if not found:
        raise _malformed("its expiration is a time as 2026-11-21T07:34:27Z")
    try:
        return datetime.fromisoformat(f"{found[1]}+00:00").timestamp()
    except ValueError as error:
        raise _malformed("its expiration is a time that exists") from error


def _conditions(items: object, expires_at: Instant) -> tuple[list[_Condition], Policy]:
    if not isinstance(items, list):
        raise _malformed("its conditions are a list")
    found: list[_Condition] = []
    smallest, largest = 0, None
    for item in items:
        match item:
            case dict() if len(item) == 1:
                ((name, value),) = item.items()
                found.append(_condition("eq", f"${name}", value))
            case [str() as word, low, high] if word.lower() == "content-length-range":
                _check_range(low, high)
                smallest, largest = max(smallest, low), high if largest is None else min(largest, high)
            case [str() as word, name, value]:
                found.append(_condition(word.lower(), name, value))
            case _:
                raise _malformed("a condition is {field: value} or [operator, field, value]")
    return found, Policy(expires_at, smallest, largest)


def _condition(operator: str, name: object, value: object) -> _Condition:
    if operator not in ("eq", "starts-with"):
        raise _malformed("an operator is eq, starts-with or content-length-range")
    if not isinstance(name, str) or not isinstance(value, str) or not name.startswith("$") or len(name) == 1:
        raise _malformed("a condition compares $field with text")
    return _Condition(name[1:].lower(), value, operator == "eq")


def _check_range(low: object, high: object) -> None:
    if type(low) is not int or type(high) is not int or not 0 <= low <= high:
        raise _malformed("a content-length-range is two sizes in bytes, the smaller first")
