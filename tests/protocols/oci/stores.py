"""Buckets whose objects are pulled as artifacts."""

import json
from dataclasses import dataclass
from urllib.parse import quote

from tests.image_sets import MANIFEST
from tests.protocols.rights import signed
from tests.registry import Client, People, digest_of, new_name
from tests.views import see


@dataclass(frozen=True)
class Store:
    """A bucket of a project, and who may write to it."""

    client: Client
    project: str
    bucket: str

    def put(self, key: str, data: bytes, content_type: str = "") -> Client:
        """Put by `/api/v1`; the repository it is."""
        path = f"/api/v1/objects/{self.project}:{self.bucket}/{quote(key)}"
        headers = {"Content-Type": content_type} if content_type else {}
        answer = see(self.client.server, path, self.client.token, method="PUT", body=data, headers=headers)
        assert answer.status == 201, answer
        return self.at(key)

    def put_by_s3(self, key: str, data: bytes, **headers: str) -> Client:
        """Put by S3; the repository it is."""
        made = self.client.server.call("POST", "/keys", {"project": self.project}, token=self.client.token)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{self.client.server.url}/{self.bucket}/{key}"
        answer = signed((made["access"], made["secret"]), "PUT", url, data, sent)
        assert answer.status == 200, answer
        return self.at(key)

    def at(self, key: str) -> Client:
        return self.client.at(f"{self.project}/{self.bucket}/{key}")

    def configure(self, **more: object) -> None:
        self.client.server.call("PUT", f"/buckets/{self.project}:{self.bucket}", more, token=self.client.token)

    def delete(self, key: str) -> None:
        path = f"/api/v1/objects/{self.project}:{self.bucket}/{key}"
        assert see(self.client.server, path, self.client.token, method="DELETE").status == 204


def new_store(people: People, **more: object) -> Store:
    made = Store(people.client(), people.project, f"b{new_name()}")
    made.configure(**more)
    return made


def pulled(client: Client, reference: str = "latest") -> dict[str, object]:
    """The manifest, after a pull that had all it names."""
    answer = client.done("GET", f"manifests/{reference}", 200)
    assert answer["content-type"] == MANIFEST
    assert answer["docker-content-digest"] == digest_of(answer.body)
    headed = client.done("HEAD", f"manifests/{reference}", 200)
    assert headed["docker-content-digest"] == answer["docker-content-digest"]
    assert headed["content-length"] == str(len(answer.body))
    found: dict[str, object] = json.loads(answer.body)
    for one in [found["config"], *found["layers"]]:  # type: ignore[misc]
        blob = client.done("GET", f"blobs/{one['digest']}", 200)
        assert (digest_of(blob.body), len(blob.body)) == (one["digest"], one["size"])
        assert client.has(one["digest"])
    return found
