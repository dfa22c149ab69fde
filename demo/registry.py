"""The step that shows an upload of PROMINENCE as a registry's artifact, and in the JSON of Singularity's registry."""

import hashlib
import json
import urllib.request

from demo.stage import Stage, fetch, need
from demo.uploads import AREA, NAME


def pull_by_other_roads(stage: Stage) -> str:
    """The uploaded file as `oras://…:latest`, and as the only layer of the seed's manifest; no byte is stored again."""
    before, name = stage.server.stored(), f"prominence-data/{AREA}/{NAME}"
    manifest = json.loads(_read(stage, f"/v2/{name}/manifests/latest"))
    layer = manifest["layers"][0]
    need(layer["digest"] == f"sha256:{stage.image.sha256}", f"the layer is {layer['digest']}")
    need(layer["mediaType"].endswith("sif.layer.v1.sif"), f"it is a {layer['mediaType']}")
    blob = _read(stage, f"/v2/{name}/blobs/{layer['digest']}")
    need(hashlib.sha256(blob).hexdigest() == stage.image.sha256, "other bytes came out")
    shown = json.loads(_read(stage, f"/registry/{name}/manifests/latest"))["layers"][0]
    with fetch(urllib.request.Request(shown["urls"][0]), timeout=60) as answer:
        need(hashlib.sha256(answer.read()).hexdigest() == stage.image.sha256, "the URL gives other bytes")
    need(stage.server.stored() == before, "something was stored")
    host = stage.server.url.partition("://")[2]
    return f"oras://{host}/{name}:latest, and a signed URL by /registry: the same sha256, nothing stored twice"


def _read(stage: Stage, path: str) -> bytes:
    headers = {"Authorization": f"Bearer {stage.token}"}
    with fetch(urllib.request.Request(f"{stage.server.url}{path}", headers=headers), timeout=60) as answer:
        found: bytes = answer.read()
        return found
