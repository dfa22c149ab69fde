"""Image manifests, indexes and artifacts to be pushed: no two alike, so that no test meets the bytes of another."""

import base64
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.registry import Client, digest_of

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
TAR = "application/vnd.oci.image.layer.v1.tar"
FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
ARTIFACT = "application/vnd.example.artifact"
OTHER_ARTIFACT = "application/vnd.example.other"


@dataclass(frozen=True)
class Made:
    """A manifest that is ready: its bytes, what they are called, and what is said of it by who refers to it."""

    data: bytes
    media_type: str
    algorithm: str = "sha256"
    tags: tuple[str, ...] = ()
    by_query: bool = False
    subject: str | None = None
    artifact_type: str | None = None
    annotations: Mapping[str, str] | None = None

    @property
    def digest(self) -> str:
        """Its name."""
        return digest_of(self.data, self.algorithm)

    @property
    def descriptor(self) -> dict[str, Any]:
        """As an index or a subject has it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data)}

    @property
    def as_referrer(self) -> dict[str, Any]:
        """As the list of referrers has it."""
        more: dict[str, Any] = {"annotations": self.annotations} if self.annotations else {}
        return {**self.descriptor, **more, **({"artifactType": self.artifact_type} if self.artifact_type else {})}


@dataclass
class DataSet:
    """Blobs, and manifests with children first; each is called by digests of one algorithm."""

    algorithm: str = "sha256"
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: list[Made] = field(default_factory=list)
    left_out: dict[str, bytes] = field(default_factory=dict)
    """Blobs that are named and not pushed."""

    def blob(self, media_type: str, content: bytes | None = None, *, push: bool = True, **more: Any) -> dict[str, Any]:
        """The descriptor of a blob that is part of this set."""
        content = secrets.token_bytes(1024) if content is None else content
        digest = digest_of(content, self.algorithm)
        (self.blobs if push else self.left_out)[digest] = content
        return {"mediaType": media_type, "digest": digest, "size": len(content), **more}

    def image(
        self,
        layers: Sequence[dict[str, Any]] | None = None,
        config: dict[str, Any] | None = None,
        tags: Sequence[str] = ("one",),
        *,
        by_query: bool = False,
        **more: Any,
    ) -> Made:
        """An image manifest that is part of this set, of two layers if none are given."""
        layers = [self.blob(GZIP), self.blob(GZIP)] if layers is None else layers
        config = config or self.blob(CONFIG, json.dumps({"id": secrets.token_hex(8)}).encode())
        body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers, **more}
        shown = more.get("artifactType") or config["mediaType"]
        return self._made(body, MANIFEST, tags, shown, by_query=by_query)

    def index(self, children: Sequence[Made], tags: Sequence[str] = ("index",), **more: Any) -> Made:
        """An index of these that is part of this set."""
        described = [{**child.descriptor, "platform": {"os": "linux", "architecture": "amd64"}} for child in children]
        more = {"annotations": {"org.example.id": secrets.token_hex(8)}, **more}
        body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": described, **more}
        return self._made(body, INDEX, tags, more.get("artifactType"))

    def artifact(self, subject: dict[str, Any] | None = None, kind: str = ARTIFACT, **more: Any) -> Made:
        """A manifest of something else than an image, which may refer to another."""
        referring = {"subject": subject} if subject else {}
        said = {"annotations": {"org.example.id": secrets.token_hex(8)}, "artifactType": kind, **referring, **more}
        layers = said.pop("layers", [self.blob("application/vnd.example.data")])
        tags = said.pop("tags", ())
        return self.image(layers, self.blob(EMPTY, b"{}"), tags, **said)

    def _made(
        self, body: dict[str, Any], kind: str, tags: Sequence[str], artifact_type: str | None, *, by_query: bool = False
    ) -> Made:
        subject = body["subject"]["digest"] if body.get("subject") else None
        data = json.dumps(body, indent=2).encode()
        made = Made(
            data, kind, self.algorithm, tuple(tags), by_query, subject, artifact_type, body.get("annotations")
        )  # fmt: skip
        self.manifests.append(made)
        return made


def plain(made: DataSet) -> None:
    made.image(tags=("one", "latest"))


def uncompressed(made: DataSet) -> None:
    made.image([made.blob(TAR), made.blob(TAR)])


def large(made: DataSet) -> None:
    made.image(annotations={f"org.example.{number}": "x" * 3900 for number in range(1000)})
    assert 3_900_000 < len(made.manifests[0].data) < 4 << 20


def with_data(made: DataSet) -> None:
    config = b'{"data": true}'
    layer = secrets.token_bytes(24)
    made.image(
        [made.blob(GZIP, layer, data=base64.b64encode(layer).decode())],
        made.blob(CONFIG, config, data=base64.b64encode(config).decode()),
    )


def nondistributable(made: DataSet) -> None:
    made.image([made.blob(GZIP), made.blob(FOREIGN, push=False, urls=["https://example.org/layer"])])


def custom_fields(made: DataSet) -> None:
    made.image([made.blob(GZIP, org_example={"of": ["layer"]})], org_example={"of": [None, 1.5, {"deep": True}]})


def no_layers(made: DataSet) -> None:
    made.image([])


def tags_by_query(made: DataSet) -> None:
    made.image(tags=[f"tag-{number}" for number in range(20)], by_query=True)


def index(made: DataSet) -> None:
    made.index([made.image(tags=()), made.image(tags=())])


def nested(made: DataSet) -> None:
    inner = made.index([made.image(tags=()), made.image(tags=())], ())
    made.index([inner, made.image(tags=())], ("nested",))


def empty_index(made: DataSet) -> None:
    made.index([])


def artifact(made: DataSet) -> None:
    made.artifact(tags=("artifact",))


def artifact_index(made: DataSet) -> None:
    made.index([made.artifact(), made.artifact()], artifactType=ARTIFACT)


def artifact_without_layers(made: DataSet) -> None:
    made.artifact(tags=("artifact",), layers=[made.blob(EMPTY, b"{}")])


def artifacts_with_subject(made: DataSet) -> None:
    image = made.image()
    made.artifact(image.descriptor)
    made.artifact(image.descriptor, OTHER_ARTIFACT)
    made.image(subject=image.descriptor, tags=("by-config",))


def index_with_subject(made: DataSet) -> None:
    image = made.image()
    made.index([made.artifact()], (), subject=image.descriptor, artifactType=ARTIFACT)
    made.index([made.artifact()], (), subject=image.descriptor)


def subject_missing(made: DataSet) -> None:
    absent = Made(secrets.token_bytes(100), MANIFEST, made.algorithm)
    made.artifact(absent.descriptor, tags=("refers",))


SETS: Mapping[str, Callable[[DataSet], None]] = {
    one.__name__: one
    for one in (
        plain, uncompressed, large, with_data, nondistributable, custom_fields, no_layers, tags_by_query, index,
        nested, empty_index, artifact, artifact_index, artifact_without_layers, artifacts_with_subject,
        index_with_subject, subject_missing,
    )
}  # fmt: skip
"""With both algorithms where the specification has two, and the wrong digest a test of its own, its twenty sets."""


def data_set(name: str, algorithm: str = "sha256") -> DataSet:
    """That one, new."""
    made = DataSet(algorithm)
    SETS[name](made)
    return made


def push_manifest(client: Client, one: Made) -> None:
    """By its digest, then by its tags one by one, or all at once."""
    query = "&".join(f"tag={tag}" for tag in one.tags) if one.by_query else ""
    answer = client.put(f"{one.digest}?{query}".rstrip("?"), one.data, one.media_type)
    assert answer.headers.count(("oci-tag", ", ".join(one.tags))) == one.by_query
    assert ("oci-subject" in answer) == (one.subject is not None)
    assert not one.subject or answer["oci-subject"] == one.subject
    for tag in () if one.by_query else one.tags:
        client.put(tag, one.data, one.media_type)


def push(client: Client, made: DataSet) -> DataSet:
    """All of it into that repository."""
    for digest, data in made.blobs.items():
        assert client.push(data, made.algorithm) == digest
    for one in made.manifests:
        push_manifest(client, one)
    return made


def pushed_image(client: Client, *tags: str) -> Made:
    """An image of one layer that the repository has."""
    made = DataSet()
    found = made.image([made.blob(GZIP)], tags=tags)
    push(client, made)
    return found
