"""Tags: what botocore sends is read, what we write botocore reads, and every limit has AWS's code and text."""

from typing import Any

import botocore.session
import pytest
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given
from hypothesis import strategies as st

from entrepot.protocols.s3 import tagging
from entrepot.protocols.s3.errors import S3Error

MODEL = botocore.session.get_session().get_service_model("s3")
BUCKET, OBJECT = tagging.MAX_BUCKET_TAGS, tagging.MAX_OBJECT_TAGS
LETTERS = st.characters(categories=["L", "N"], include_characters=" +-=._:/@")


def sent(tags: list[tuple[str, str]]) -> bytes:
    """The body botocore sends."""
    pairs = [{"Key": key, "Value": value} for key, value in tags]
    params = {"Bucket": "b", "Key": "k", "Tagging": {"TagSet": pairs}}
    operation = MODEL.operation_model("PutObjectTagging")
    body: bytes = create_serializer("rest-xml", include_validation=False).serialize_to_request(params, operation)[
        "body"
    ]
    return body


def shown(body: bytes) -> list[tuple[str, str]]:
    """What botocore makes of an answer."""
    shape = MODEL.operation_model("GetObjectTagging").output_shape
    found: Any = create_parser("rest-xml").parse({"status_code": 200, "headers": {}, "body": body}, shape)
    return [(tag["Key"], tag["Value"]) for tag in found["TagSet"]]


@pytest.mark.parametrize(
    "tags",
    [[], [("a", "1")], [("z", ""), ("a", "ä ö"), ("x:aws:y", "+-=._:/@")], [(f"k{i}", "v" * 256) for i in range(10)]],
)
def test_tags_go_round_by_botocore_in_their_order(tags: list[tuple[str, str]]) -> None:
    found = tagging.read_tags(sent(tags), OBJECT)
    assert list(found.items()) == tags
    assert shown(tagging.write_tags(found)) == tags


KEYS = st.text(LETTERS, min_size=1, max_size=20).filter(lambda key: not key.lower().startswith("aws:"))


@given(st.dictionaries(KEYS, st.text(LETTERS, max_size=20), max_size=10))
def test_any_plain_tags_go_round(tags: dict[str, str]) -> None:
    assert tagging.read_tags(tagging.write_tags(tags), OBJECT) == tags


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("", {}),
        ("&", {}),
        ("&&&", {}),
        ("key", {"key": ""}),
        ("key&", {"key": ""}),
        ("key=&", {"key": ""}),
        ("a=1&b=2", {"a": "1", "b": "2"}),
        ("Hello=World&foo=bar", {"Hello": "World", "foo": "bar"}),
        ("key@=val@", {"key@": "val@"}),
        ("a=b=c", {"a": "b=c"}),
        ("a+b=c%20d", {"a b": "c d"}),
        ("%C3%A4=%2B", {"ä": "+"}),
    ],
)
def test_the_header_is_read_as_a_query(text: str, tags: dict[str, str]) -> None:
    assert tagging.header_tags(text) == tags


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("=", "InvalidArgument"),
        ("=v", "InvalidArgument"),
        ("key%", "InvalidArgument"),
        ("key=%zz", "InvalidArgument"),
        ("key=%ff", "InvalidArgument"),
        ("ä=1", "InvalidArgument"),
        ("a=1&a=2", "InvalidArgument"),
        ("aws:foo=bar", "InvalidTag"),
        ("a%21=1", "InvalidTag"),
        ("&".join(f"k{i}=1" for i in range(11)), "InvalidTag"),
    ],
)
def test_the_header_is_refused(text: str, code: str) -> None:
    with pytest.raises(S3Error) as refused:
        tagging.header_tags(text)
    assert refused.value.s3_code == code


@pytest.mark.parametrize(
    ("tags", "most", "code", "message"),
    [
        ([(f"k{i}", "") for i in range(11)], OBJECT, "InvalidTag", "Object tags cannot be greater than 10"),
        ([(f"k{i}", "") for i in range(51)], BUCKET, "InvalidTag", "Bucket tag count cannot be greater than 50"),
        ([("a", "1"), ("a", "2")], OBJECT, "InvalidTag", "Cannot provide multiple Tags with the same key"),
        ([("aws:a", "1")], OBJECT, "InvalidTag", "Your TagKey cannot be prefixed with aws:"),
        ([("AWS:a", "1")], OBJECT, "InvalidTag", "Your TagKey cannot be prefixed with aws:"),
        ([("aws:a", "1")], BUCKET, "InvalidTag", "System tags cannot be added/updated by requester"),
        ([("", "1")], OBJECT, "InvalidTag", "The TagKey you have provided is invalid"),
        ([("k" * 129, "1")], OBJECT, "InvalidTag", "The TagKey you have provided is invalid"),
        ([("a*b", "1")], OBJECT, "InvalidTag", "The TagKey you have provided is invalid"),
        ([("a", "v" * 257)], OBJECT, "InvalidTag", "The TagValue you have provided is invalid"),
        ([("a", "b,c")], OBJECT, "InvalidTag", "The TagValue you have provided is invalid"),
    ],
)
def test_each_limit_has_its_code_and_text(tags: list[tuple[str, str]], most: int, code: str, message: str) -> None:
    with pytest.raises(S3Error) as refused:
        tagging.read_tags(sent(tags), most)
    assert (refused.value.s3_code, refused.value.status, str(refused.value)) == (code, 400, message)


def test_the_limits_themselves_are_allowed() -> None:
    assert len(tagging.read_tags(sent([(f"k{i}", "") for i in range(50)]), BUCKET)) == 50
    assert tagging.check_tags([("ä" * 128, "ö" * 256)], OBJECT) == {"ä" * 128: "ö" * 256}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<Tagging/>",
        b"<Tags><TagSet/></Tags>",
        b"<Tagging><TagSet/><TagSet/></Tagging>",
        b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
        b"<Tagging><TagSet><Tag><Value>a</Value></Tag></TagSet></Tagging>",
        b"<Tagging><TagSet><Tag><Key>a</Key><Key>b</Key><Value>1</Value></Tag></TagSet></Tagging>",
        b"<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value><More/></Tag></TagSet></Tagging>",
        b"<Tagging><TagSet><Other/></TagSet></Tagging>",
    ],
)
def test_another_document_is_malformed(body: bytes) -> None:
    with pytest.raises(S3Error) as refused:
        tagging.read_tags(body, OBJECT)
    assert refused.value.s3_code == "MalformedXML"
