"""What a user of PROMINENCE pushed to the registry is among its files, to be downloaded and not to be deleted."""

from tests.asking import DataApi, ask
from tests.registry import Client, new_name, new_user
from tests.running import RunningServer
from tests.views import SIF_LAYER, new_sif, push_file


def test_a_user_of_prominence_lists_and_downloads_the_sifs_it_pushed(server: RunningServer) -> None:
    token = new_user(server, "default", "writer")
    client, data = Client(server, token, f"jobs/{new_name()}"), DataApi(server, token)
    content = new_sif()
    push_file(client, content, "v1", title="job.sif")
    assert data.put("own.sif", b"own").status == 201
    key = f"oci/{client.name}/v1/job.sif"
    names = data.names()
    assert key in names
    assert "own.sif" in "".join(names)
    (item,) = (one for one in data.ask("GET", "/data").json if one["name"] == key)
    assert item["size"] == len(content)
    assert data.get(key) == content
    other = DataApi(server, new_user(server, "default", "writer"))
    assert key not in other.names()
    refused = data.ask("DELETE", f"/data/{key}")
    assert refused.status == 403, refused
    assert data.get(key) == content


def test_what_one_may_not_read_cannot_be_downloaded_by_prominence(server: RunningServer) -> None:
    owner, stranger = new_user(server, "default", "writer"), new_user(server)
    client = Client(server, owner, f"jobs/{new_name()}")
    push_file(client, new_sif(), "v1", title="job.sif")
    key = f"oci/{client.name}/v1/job.sif"
    asked = DataApi(server, stranger).ask("POST", "/data/download", {"name": key})
    missing = DataApi(server, stranger).ask("POST", "/data/download", {"name": "oci/none/v1/job.sif"})
    assert asked.status == missing.status
    assert asked.status in (400, 403, 404)


def test_a_download_ends_when_the_tag_is_gone(server: RunningServer) -> None:
    token = new_user(server, "default", "maintainer")
    client, data = Client(server, token, f"jobs/{new_name()}"), DataApi(server, token)
    content = new_sif()
    push_file(client, content, "v1", title="job.sif", kind=SIF_LAYER, config=b"{}")
    url = data.get_url(f"oci/{client.name}/v1/job.sif")
    assert ask(url).body == content
    assert ask(url, "HEAD")["content-length"] == str(len(content))
    client.done("DELETE", "manifests/v1", 202)
    assert ask(url).status in (403, 404)
    assert f"oci/{client.name}/v1/job.sif" not in data.names()
