"""What manifests say, read from their bytes alone; no bytes make the reader fail in another way than its own."""

import base64
import hashlib
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.errors import BadDigest, BadManifest, EntrepotError, WrongSize
from entrepot.formats.image_manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    EMPTY_TYPE,
    MAX_DESCRIPTORS,
    OCI_INDEX,
    OCI_MANIFEST,
    ImageManifest,
    parse,
)

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"


def descriptor(
    content: bytes = b"x", media_type: str = LAYER_TYPE, algorithm: str = "sha256", **more: Any
) -> dict[str, Any]:
    digest = f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
    return {"mediaType": media_type, "digest": digest, "size": len(content), **more}


CONFIG = descriptor(b"{}", CONFIG_TYPE)
IMAGE: dict[str, Any] = {"schemaVersion": 2, "config": CONFIG, "layers": [descriptor()]}
INDEX: dict[str, Any] = {"schemaVersion": 2, "manifests": [descriptor(b"m", OCI_MANIFEST)]}


def read(body: object, content_type: str = "") -> ImageManifest:
    return parse(json.dumps(body).encode(), content_type)


def test_an_image_names_its_config_and_layers() -> None:
    found = read({**IMAGE, "mediaType": OCI_MANIFEST, "annotations": {"a": "b"}}, OCI_MANIFEST)
    assert (found.media_type, found.is_index, found.children, found.subject) == (OCI_MANIFEST, False, (), None)
    assert found.config
    assert (found.config.media_type, str(found.config.digest), found.config.size) == tuple(CONFIG.values())
    assert [str(one.digest) for one in found.layers] == [descriptor()["digest"]]
    assert found.annotations == {"a": "b"}
    assert not found.layers[0].elsewhere


def test_an_index_names_its_children() -> None:
    platform = {"os": "linux", "architecture": "arm64"}
    found = read({**INDEX, "manifests": [descriptor(b"m", OCI_MANIFEST, platform=platform)]}, OCI_INDEX)
    assert (found.is_index, found.config, found.layers) == (True, None, ())
    assert found.children[0].platform == platform


@pytest.mark.parametrize("empty", [None, [], "absent"])
def test_no_layers_and_no_children_are_fine(empty: object) -> None:
    for body, kind, member in ((IMAGE, OCI_MANIFEST, "layers"), (INDEX, OCI_INDEX, "manifests")):
        made = {key: value for key, value in body.items() if key != member}
        found = read(made if empty == "absent" else {**made, member: empty}, kind)
        assert (found.layers, found.children) == ((), ())


@pytest.mark.parametrize(
    ("sent", "own", "body", "expected"),
    [
        (OCI_MANIFEST, None, IMAGE, OCI_MANIFEST),
        (f"{OCI_MANIFEST}; charset=utf-8", OCI_MANIFEST, IMAGE, OCI_MANIFEST),
        ("", OCI_MANIFEST, IMAGE, OCI_MANIFEST), ("", None, IMAGE, OCI_MANIFEST), ("", None, INDEX, OCI_INDEX),
        ("application/json", DOCKER_LIST, INDEX, DOCKER_LIST), ("application/json", None, INDEX, OCI_INDEX),
        (DOCKER_MANIFEST, DOCKER_MANIFEST, IMAGE, DOCKER_MANIFEST), (DOCKER_LIST, None, INDEX, DOCKER_LIST),
        (OCI_MANIFEST.upper(), OCI_MANIFEST, IMAGE, OCI_MANIFEST), (f" {OCI_INDEX} ", None, INDEX, OCI_INDEX),
    ],
)  # fmt: skip
def test_the_type_is_the_one_sent_else_the_own_else_the_shapes(
    sent: str, own: str | None, body: dict[str, Any], expected: str
) -> None:
    assert read({**body, **({"mediaType": own} if own else {})}, sent).media_type == expected


@pytest.mark.parametrize(
    ("sent", "own", "body"),
    [
        (OCI_MANIFEST, OCI_INDEX, IMAGE), (OCI_INDEX, OCI_MANIFEST, INDEX), (OCI_MANIFEST, None, INDEX),
        (OCI_INDEX, None, IMAGE), ("text/plain", None, IMAGE), ("", "text/plain", IMAGE),
        ("application/vnd.docker.distribution.manifest.v1+json", None, IMAGE), ("", OCI_MANIFEST, INDEX),
        ("", None, {**IMAGE, **INDEX}), (OCI_MANIFEST, None, {**IMAGE, "manifests": []}),
    ],
)  # fmt: skip
def test_types_that_do_not_fit_are_refused(sent: str, own: str | None, body: dict[str, Any]) -> None:
    with pytest.raises(BadManifest):
        read({**body, **({"mediaType": own} if own else {})}, sent)


@pytest.mark.parametrize("version", [1, "2", None, 3, 2.5])
def test_other_versions_are_refused(version: object) -> None:
    with pytest.raises(BadManifest):
        read({**IMAGE, "schemaVersion": version})


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b"\xff", b'{"a":1,"a":2}', b'{"schemaVersion":2,"x":NaN}', b"[" * 99_999]
)
def test_what_is_no_strict_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(BadManifest):
        parse(data, OCI_MANIFEST)


@pytest.mark.parametrize("levels", [63, 64])
def test_64_levels_are_the_most(levels: int) -> None:
    data = json.dumps(IMAGE).encode()[:-1] + b',"x":' + b"[" * levels + b"]" * levels + b"}"
    if levels == 63:
        parse(data, OCI_MANIFEST)
    else:
        with pytest.raises(BadManifest):
            parse(data, OCI_MANIFEST)


def test_ten_thousand_things_are_the_most() -> None:
    for body, member in ((IMAGE, "layers"), (INDEX, "manifests")):
        one = body[member][0]
        found = read({**body, member: [one] * MAX_DESCRIPTORS})
        assert len(found.layers or found.children) == 10_000
        with pytest.raises(BadManifest):
            read({**body, member: [one] * (MAX_DESCRIPTORS + 1)})


@pytest.mark.parametrize(
    "digest", ["", "x", "sha256:", "sha256:" + "A" * 64, "md5:" + "0" * 32, "sha512:" + "0" * 64, None]
)
def test_digests_nobody_knows_are_refused(digest: str | None) -> None:
    bad = {**descriptor(), "digest": digest}
    for body in (
        {**IMAGE, "config": bad},
        {**IMAGE, "layers": [bad]},
        {**INDEX, "manifests": [bad]},
        {**IMAGE, "subject": bad},
    ):
        with pytest.raises(BadDigest):
            read(body)


def test_a_digest_may_be_a_sha512() -> None:
    one = descriptor(b"x", algorithm="sha512")
    assert str(read({**IMAGE, "layers": [one]}).layers[0].digest) == one["digest"]


@pytest.mark.parametrize("size", [-1, "1", 1.0, True, None, 2**63])
def test_a_size_that_is_none_is_refused(size: object) -> None:
    with pytest.raises(BadManifest):
        read({**IMAGE, "layers": [{**descriptor(), "size": size}]})


def test_only_a_child_of_an_index_may_be_without_a_size() -> None:
    bare = {key: value for key, value in descriptor().items() if key != "size"}
    assert read({**INDEX, "manifests": [bare]}).children[0].size == 0
    with pytest.raises(BadManifest):
        read({**IMAGE, "layers": [bare]})


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_data_is_what_its_digest_and_size_say(algorithm: str) -> None:
    right = base64.b64encode(b"abc").decode()
    one = descriptor(b"abc", algorithm=algorithm)
    read({**IMAGE, "layers": [{**one, "data": right}]})
    for data, error in (
        ("YWJk", BadManifest),
        ("YQ==", WrongSize),
        ("!", BadManifest),
        ("YWJj\n", BadManifest),
        (1, BadManifest),
    ):
        with pytest.raises(error):
            read({**IMAGE, "layers": [{**one, "data": data}]})


def test_data_of_nothing_is_data_too() -> None:
    read({**IMAGE, "layers": [descriptor(b"", data="")]})
    with pytest.raises(WrongSize):
        read({**IMAGE, "layers": [descriptor(b"abc", data="")]})


@pytest.mark.parametrize(
    "more",
    [
        {"urls": ["https://example.org/x"]},
        {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar"},
        {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"},
        {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"},
    ],
)
def test_some_layers_may_lie_elsewhere(more: dict[str, Any]) -> None:
    assert read({**IMAGE, "layers": [{**descriptor(), **more}]}).layers[0].elsewhere


def test_the_type_a_referrer_is_listed_with() -> None:
    assert read({**IMAGE, "artifactType": "a/b"}).shown_type == "a/b"
    assert read(IMAGE).shown_type == CONFIG_TYPE
    assert read({**IMAGE, "config": descriptor(b"{}", EMPTY_TYPE), "artifactType": ""}).shown_type == EMPTY_TYPE
    assert read(INDEX).shown_type is None
    assert read({**INDEX, "artifactType": "a/b"}).shown_type == "a/b"


def test_unknown_members_pass() -> None:
    assert read({**IMAGE, "x": {"y": [None, 1.5]}, "layers": [descriptor(z=[1])]}).media_type == OCI_MANIFEST


def test_a_subject_is_read_with_images_and_indexes() -> None:
    subject = descriptor(b"s", OCI_MANIFEST)
    for body in (IMAGE, INDEX):
        found = read({**body, "subject": subject}).subject
        assert found
        assert str(found.digest) == subject["digest"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
WORDS = st.sampled_from([
    "schemaVersion", "mediaType", "config", "layers", "manifests", "subject", "annotations", "artifactType", "digest",
    "size", "data", "urls", "platform",
])  # fmt: skip
VALUES = JSON | st.sampled_from(
    [2, OCI_MANIFEST, OCI_INDEX, CONFIG, [CONFIG], [descriptor()], CONFIG["digest"], {}, []]
)
DESCRIPTORS = st.builds(lambda more: {**descriptor(), **more}, st.dictionaries(WORDS, VALUES, max_size=3))
TYPES = st.sampled_from(["", OCI_MANIFEST, OCI_INDEX, DOCKER_LIST, "application/json", ";", "é"])


@given(st.binary(max_size=200), TYPES)
def test_any_bytes_are_a_manifest_or_an_error_of_ours(data: bytes, content_type: str) -> None:
    with suppress(EntrepotError):
        parse(data, content_type)


@settings(max_examples=300)
@given(
    st.sampled_from([IMAGE, INDEX]),
    st.dictionaries(WORDS, VALUES | DESCRIPTORS | st.lists(DESCRIPTORS, max_size=2), max_size=4),
    TYPES,
)
def test_any_object_is_a_manifest_or_an_error_of_ours(
    base: dict[str, Any], more: dict[str, Any], content_type: str
) -> None:
    with suppress(EntrepotError):
        found = read({**base, **more}, content_type)
        assert found.is_index == (found.config is None)
        assert not (found.layers and found.children)
        assert found.media_type in (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST)


@pytest.mark.parametrize("text", ['"\\ud800"', '{"\\ud800": "x"}', "1e999", "1" * 5000, '"\\u0000"'])
@pytest.mark.parametrize("member", ["x", "artifactType", "annotations", "mediaType"])
def test_odd_values_are_an_error_of_ours_or_none(text: str, member: str) -> None:
    data = json.dumps(IMAGE).encode()[:-1] + f',"{member}":{text}}}'.encode()
    with suppress(EntrepotError):
        parse(data, OCI_MANIFEST)
