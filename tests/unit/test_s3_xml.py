"""XML in and out: strict documents into plain trees, any text out and back; nothing a document does costs much."""

import time
from contextlib import suppress
from typing import Any

import botocore.session
import pytest
from botocore.parsers import create_parser
from hypothesis import example, given
from hypothesis import strategies as st

from entrepot.protocols.s3 import xml
from entrepot.protocols.s3.errors import S3Error
from entrepot.protocols.s3.xml import Node

MODEL = botocore.session.get_session().get_service_model("s3")
TEXTS = st.text(st.characters(exclude_categories=[])) | st.sampled_from(
    ["", " ", "\r\n", "]]>", "&amp;", "<![CDATA[x]]>"]
)


def refused(data: bytes, name: str = "D") -> str:
    with pytest.raises(S3Error) as caught:
        xml.read(data, name)
    assert str(caught.value)
    return caught.value.s3_code


def as_xml(text: str) -> str:
    """The same with a question mark for all that XML 1.0 has no words for."""
    kept = "\t\n\r"
    return "".join(
        c if c in kept or " " <= c < "\ud800" or "\ue000" <= c <= "\ufffd" or c > "\uffff" else "?" for c in text
    )


# --- in --------------------------------------------------------------------------------------------------------------


def test_a_document_becomes_a_tree() -> None:
    data = b"""<?xml version="1.0" encoding="UTF-8"?>
    <!-- from a client --><?php none ?>
    <Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
      <Quiet>true</Quiet> and
      <Object><Key>a &lt;&amp;&#x263A;&#13; b</Key><VersionId/></Object>
      <Object><Key><![CDATA[<c>]]>d<!-- e -->f</Key></Object>
    </Delete> """
    root = xml.read(data, "Delete")
    assert root.name == "Delete"
    assert root.text_of("Quiet") == "true"
    first, second = root.all("Object")
    assert first == Node("Object", "", [Node("Key", "a <&☺\r b"), Node("VersionId")])
    assert second.text_of("Key") == "<c>df"


@pytest.mark.parametrize(
    "data",
    [
        b"<D/>", b"<D></D>", b" \n<D/>\n ", b"<D xmlns='http://s3.amazonaws.com/doc/2006-03-01/'/>", b"<D xmlns='x'/>",
        b"<s3:D xmlns:s3='y'/>", b'<?xml version="1.0"?><D/>', b'<?xml version="1.0" encoding="utf-8"?><D/>',
        b"\xef\xbb\xbf<D/>", b"\xef\xbb\xbf<?xml version='1.0' standalone='yes'?>\n<D/>", b"<D a='b'/>",
    ],
)  # fmt: skip
def test_namespaces_declarations_and_marks_make_no_difference(data: bytes) -> None:
    assert xml.read(data, "D") == Node("D")


def test_text_is_utf8_whatever_the_declaration_says() -> None:
    for declared in ("utf-8", "UTF-8", "us-ascii", "iso-8859-1"):
        data = f'<?xml version="1.0" encoding="{declared}"?><D>é😀</D>'.encode()
        assert xml.read(data, "D").text == "é😀"
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "iso-8859-1"):
        data = f'<?xml version="1.0" encoding="{encoding}"?><D>é</D>'.encode(encoding)
        assert refused(data) == "MalformedXML"


MALFORMED = {
    "nothing": b"",
    "white space": b" \n",
    "text": b"x",
    "JSON": b'{"D": 1}',
    "another root": b"<E/>",
    "a root in another case": b"<d/>",
    "two roots": b"<D/><D/>",
    "text behind": b"<D/>x",
    "text in front": b"x<D/>",
    "unclosed": b"<D>",
    "half": b"<D><Key>k</Ke",
    "crossed": b"<D><A><B></A></B></D>",
    "a bare ampersand": b"<D>&</D>",
    "an entity of HTML": b"<D>&nbsp;</D>",
    "a control character": b"<D>\x01</D>",
    "a NUL": b"<D>\x00</D>",
    "a written NUL": b"<D>&#0;</D>",
    "a written control character": b"<D>&#x1;</D>",
    "a surrogate": b"<D>&#xD800;</D>",
    "a surrogate in bytes": b"<D>\xed\xa0\x80</D>",
    "no UTF-8": b"<D>\xff</D>",
    "an attribute twice": b"<D a='1' a='2'/>",
    "an unbound prefix": b"<x:D/>",
    "a doctype": b"<!DOCTYPE D><D/>",
    "a doctype with a system id": b'<!DOCTYPE D SYSTEM "http://127.0.0.1:9/x.dtd"><D/>',
    "an entity": b'<!DOCTYPE D [<!ENTITY a "b">]><D>&a;</D>',
    "an external entity": b'<!DOCTYPE D [<!ENTITY a SYSTEM "file:///etc/passwd">]><D>&a;</D>',
    "a parameter entity": b'<!DOCTYPE D [<!ENTITY % a "b"> %a;]><D/>',
    "laughs": b'<!DOCTYPE D [<!ENTITY a "ha"><!ENTITY b "&a;&a;"><!ENTITY c "&b;&b;">]><D>&c;</D>',
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_whatever_else_is_malformed(data: bytes) -> None:
    assert refused(data) == "MalformedXML"


@given(
    st.binary(max_size=60), st.sampled_from([b"", b"<D>", b"<D><Key>", b"<D a='", b"<?xml ", b"<!", b"<D><![CDATA["])
)
def test_any_bytes_are_a_tree_or_a_refusal(data: bytes, start: bytes) -> None:
    for whole in (start + data, start + data + b"</Key></D>", start + data + b"</D>"):
        with suppress(S3Error):
            assert xml.read(whole, "D").name == "D"


def test_depth_is_limited() -> None:
    def nested(depth: int) -> bytes:
        return b"<D>" + b"<a>" * (depth - 1) + b"</a>" * (depth - 1) + b"</D>"

    assert xml.read(nested(xml.MAX_DEPTH), "D").children
    for depth in (xml.MAX_DEPTH + 1, 100_000):
        assert refused(nested(depth)) == "MalformedXML"
    assert refused(b"<a>" * 100_000) == "MalformedXML"


def test_the_number_of_elements_is_limited() -> None:
    def wide(count: int) -> bytes:
        return b"<D>" + b"<a/>" * (count - 1) + b"</D>"

    assert len(xml.read(wide(xml.MAX_ELEMENTS), "D").children) == xml.MAX_ELEMENTS - 1
    assert refused(wide(xml.MAX_ELEMENTS + 1)) == "MalformedXML"


@pytest.mark.parametrize("piece", [b"x" * 33 + b"<!---->", b"<![CDATA[" + b"x" * 28 + b"]]>", b"x" * 36 + b"<b/>"])
def test_text_in_many_pieces_takes_time_by_its_length_alone(piece: bytes) -> None:
    """Twice the text, twice the time: all of it is read where every other request waits."""
    data = b"<D>" + piece * 50_000 + b"</D>"
    before = time.process_time()
    assert xml.read(data, "D").name == "D"
    assert time.process_time() - before < 1.5


def test_a_type_is_seen_as_a_child() -> None:
    data = b"""<G xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><Grantee xsi:type="Group" other="x"><URI>u</URI>
        </Grantee><xsi:type>x</xsi:type></G>"""
    root = xml.read(data, "G")
    assert root.one("Grantee").text_of("xsi:type") == "Group"
    assert [child.name for child in root.children] == ["Grantee", "type"]


def test_a_node_is_asked_for_its_children() -> None:
    root = xml.read(b"<D><a>1</a><b/><a>2</a><c> 3 </c></D>", "D")
    assert [node.text for node in root.all("a")] == ["1", "2"]
    assert (root.all("d"), root.one("c").text, root.text_of("c"), root.text_of("b")) == ([], " 3 ", " 3 ", "")
    assert (root.text_of("d", "none"), root.text_of("b", "none")) == ("none", "")
    assert root.only("a", "b", "c", "d") is root
    for asked in (
        lambda: root.one("a"), lambda: root.one("d"), lambda: root.text_of("a"), lambda: root.text_of("a", "none"),
        lambda: root.text_of("d"), lambda: root.only("a", "b"),
    ):  # fmt: skip
        with pytest.raises(S3Error) as caught:
            asked()
        assert (caught.value.s3_code, caught.value.status) == ("MalformedXML", 400)


# --- out -------------------------------------------------------------------------------------------------------------


def test_a_document_is_written_as_s3_writes_it() -> None:
    found = xml.document(
        "R", ("Name", "b"), None, ("Prefix", ""), ("Marker", None), ("Count", 0), ("Flag", xml.boolean(True)),
        ("Owner", ("ID", "1"), None, ("Name", "é<&>")), ("One", ("Two", "3")), ("Empty",),
    )  # fmt: skip
    assert found.decode() == (
        '<?xml version="1.0" encoding="UTF-8"?>\n<R xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>'
        "<Prefix/><Marker/><Count>0</Count><Flag>true</Flag><Owner><ID>1</ID><Name>é&lt;&amp;&gt;</Name></Owner>"
        "<One><Two>3</Two></One><Empty></Empty></R>"
    )
    assert xml.document("Error", namespace="") == b'<?xml version="1.0" encoding="UTF-8"?>\n<Error></Error>'
    assert xml.document("L", "a<b", namespace="").endswith(b"<L>a&lt;b</L>")
    assert (xml.boolean(True), xml.boolean(False)) == ("true", "false")


def test_an_element_closes_without_its_attributes() -> None:
    for content in (("x",), (("URI", "u"),)):
        root = xml.read(xml.document("D", ('Grantee a="b" c="d"', *content)), "D")
        assert root.one("Grantee").name == "Grantee"


@given(TEXTS, TEXTS)
@example("\r", "\n")
@example("\x00\x08\x0b\x1f\x7f\x85\u2028", "\ufffe\uffff\U0010ffff")
def test_any_text_comes_back_but_for_what_xml_cannot_hold(key: str, value: str) -> None:
    found = xml.read(xml.document("D", ("Key", key), ("More", ("Value", value), ("Last", "x"))), "D")
    assert found.text_of("Key") == as_xml(key)
    assert found.one("More").text_of("Value") == as_xml(value)


@given(st.lists(TEXTS.filter(bool), max_size=5))
@example([" a ", "\r\n", "\t", "<Key>", "a&#13;b", "😀", "\x01"])
def test_botocore_reads_the_keys_that_were_written(keys: list[str]) -> None:
    body = xml.document(
        "ListBucketResult", ("Name", "b"), ("Prefix", ""), ("IsTruncated", "false"),
        *(("Contents", ("Key", key), ("Size", 3)) for key in keys),
    )  # fmt: skip
    shape = MODEL.operation_model("ListObjects").output_shape
    found: Any = create_parser("rest-xml").parse({"status_code": 200, "headers": {}, "body": body}, shape)
    assert [item["Key"] for item in found.get("Contents", [])] == [as_xml(key) for key in keys]
    assert (found["Name"], found["Prefix"], found["IsTruncated"]) == ("b", "", False)


@given(TEXTS.filter(bool))
def test_botocore_reads_what_an_error_says(message: str) -> None:
    body = xml.document("Error", ("Code", "NoSuchKey"), ("Message", message), ("RequestId", "1"), namespace="")
    shape = MODEL.operation_model("GetObject").output_shape
    answer = {"status_code": 404, "headers": {}, "body": body}
    found: Any = create_parser("rest-xml").parse(answer, shape)
    assert found["Error"]["Code"] == "NoSuchKey"
    assert found["Error"]["Message"] == as_xml(message)
