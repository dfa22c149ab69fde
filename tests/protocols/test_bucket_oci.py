"""Bucket `oci`: what repositories hold, as objects of S3 and as files of PROMINENCE; nothing there can be changed."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.asking import ask
from tests.image_sets import CONFIG, GZIP, INDEX, MANIFEST, DataSet, Made, push
from tests.registry import Client, new_name, new_user
from tests.running import RunningServer, new_postgres, running_server
from tests.s3_accounts import Account, boto3_of
from tests.views import TITLE, new_sif, publish, push_file, put_by_s3

BUCKET = "oci"
NAMES = ["a", "a-b", "a.b", "a/b", "a/b/c", "a0", "a_b", "b/a/latest", "b/a", "zz/a-b/c.d"]
"""Names that lie between each other's files."""
TAGS = ["1", "1-a", "1.0", "1a", "A", "latest", "_x"]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One with nothing in its repositories but what is pushed here."""
    data = tmp_path_factory.mktemp("bucket-oci") / "data"
    if request.param == "sqlite":
        with running_server(data) as running:
            yield running
        return
    with new_postgres(request.getfixturevalue("postgres_url")) as url:
        with running_server(data, environ={"ENTREPOT_DB": url}) as running:
            yield running


def files_of(client: Client, tag: str, made: Made, data: DataSet, layers: Sequence[str]) -> dict[str, bytes]:
    """What the bucket shows of an image of that set under that tag."""
    folder, body = f"{client.name}/{tag}/", json.loads(made.data)
    found = {f"{folder}manifest.json": made.data, f"{folder}config.json": data.blobs[body["config"]["digest"]]}
    for name, layer in zip(layers, body["layers"], strict=True):
        found[folder + name] = data.blobs[layer["digest"]]
    return found


def push_titled(client: Client, tag: str, titles: Sequence[str | None]) -> tuple[Made, DataSet]:
    """An image with a layer for each title."""
    data = DataSet()
    said: list[dict[str, Any]] = [{} if title is None else {"annotations": {TITLE: title}} for title in titles]
    layers = [data.blob(GZIP, **more) for more in said]
    made = data.image(layers, tags=(tag,))
    push(client, data)
    return made, data


@pytest.fixture(scope="module")
def who(server: RunningServer) -> Client:
    """A maintainer in project `default`."""
    return Client(server, new_user(server, "default", "maintainer"))


@pytest.fixture(scope="module")
def model(who: Client) -> dict[str, bytes]:
    """All keys there should be, and their bytes."""
    found: dict[str, bytes] = {}
    for number, name in enumerate(NAMES):
        client = who.at(name)
        for tag in TAGS[: 1 + number % 4] if number else TAGS:
            made, data = push_titled(client, tag, ["x.sif", None])
            found.update(files_of(client, tag, made, data, ["x.sif", "layer-2"]))
    data = DataSet()
    first, second = data.image(tags=()), data.image(tags=())
    inner = data.image(tags=())
    index = {
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [
            {**first.descriptor, "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}},
            {**second.descriptor, "platform": {"os": "linux", "architecture": "amd64"}}, inner.descriptor,
        ],
    }  # fmt: skip
    client = who.at("a")
    push(client, data)
    whole = json.dumps(index).encode()
    client.put("index", whole, INDEX)
    found["a/index/manifest.json"] = whole
    for folder, child in (("linux-arm-v7", first), ("linux-amd64", second), (inner.digest[7:19], inner)):
        found.update(files_of(client, f"index/{folder}", child, data, ["layer-1", "layer-2"]))
    return found


def s3_of(client: Client, project: str = "default") -> Any:
    """boto3 for that user."""
    made = client.server.call("POST", "/keys", {"project": project}, token=client.token)
    return boto3_of(Account(client.server, project, made["access"], made["secret"], Path()))


@pytest.fixture(scope="module")
def s3(who: Client) -> Any:
    return s3_of(who)


def listing(s3: Any, size: int = 1000, **more: str) -> list[str]:
    """All names, and common prefixes, of a list in pages of that size; each page is full but the last."""
    found: list[str] = []
    token: dict[str, str] = {}
    while True:
        page = s3.list_objects_v2(Bucket=BUCKET, MaxKeys=size, **more, **token)
        names = [one["Key"] for one in page.get("Contents", [])]
        prefixes = [one["Prefix"] for one in page.get("CommonPrefixes", [])]
        assert names == sorted(names)
        assert prefixes == sorted(prefixes)
        assert page["KeyCount"] == len(names) + len(prefixes) <= size
        found += sorted(names + prefixes)
        if not page["IsTruncated"]:
            return found
        assert page["KeyCount"] == size
        token = {"ContinuationToken": page["NextContinuationToken"]}


def expected(model: Mapping[str, bytes], prefix: str = "", delimiter: str = "") -> list[str]:
    """The same by the rules of S3."""
    found: list[str] = []
    for key in sorted(model):
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        name = key[: cut + len(delimiter)] if cut >= 0 else key
        if key.startswith(prefix) and name not in found:
            found.append(name)
    return found


def test_every_file_is_listed_once_and_in_order(s3: Any, model: dict[str, bytes]) -> None:
    assert listing(s3) == sorted(model)
    sizes = {one["Key"]: one["Size"] for one in s3.list_objects_v2(Bucket=BUCKET)["Contents"]}
    assert sizes == {key: len(data) for key, data in model.items()}


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 11, 16, 31, 64])
def test_pages_of_every_size_make_the_same_list(s3: Any, model: dict[str, bytes], size: int) -> None:
    assert listing(s3, size) == sorted(model)
    assert listing(s3, size, Delimiter="/") == expected(model, "", "/")


PREFIXES = [
    "", "a", "a/", "a-", "a/b", "a/b/", "a/b/c/", "a/1", "a/1/", "a/1.0/m", "a/index/", "a/index/linux-arm", "b/a/",
    "b/a/latest/", "c", "zz/a-b/c.d/1/layer", "oci/", "a//", "ü",
]  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("delimiter", ["", "/", "-", "a/", ".json"])
def test_prefixes_and_delimiters_of_all_kinds(s3: Any, model: dict[str, bytes], prefix: str, delimiter: str) -> None:
    more = {"Prefix": prefix, **({"Delimiter": delimiter} if delimiter else {})}
    for size in (1, 3, 1000):
        assert listing(s3, size, **more) == expected(model, prefix, delimiter), size


@pytest.fixture(scope="module")
def plain(who: Client, s3: Any, model: dict[str, bytes]) -> str:
    """A bucket of the plain kind, with the same names in it."""
    bucket = f"b{new_name()}"
    who.server.call("PUT", f"/buckets/{bucket}", {}, token=who.token)
    for key in model:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    return bucket


@pytest.mark.parametrize("delimiter", ["", "/"])
def test_a_list_begins_after_any_name_as_that_of_another_bucket(
    s3: Any, model: dict[str, bytes], plain: str, delimiter: str
) -> None:
    keys = sorted(model)
    for after in [
        *keys[:: max(1, len(keys) // 25)],
        "a",
        "a/",
        "a/1",
        "a/1/",
        "a-",
        "a/z",
        "zz/",
        "a/1/manifest.jsoo",
        "0",
    ]:
        found = []
        for bucket in (BUCKET, plain):
            page = s3.list_objects_v2(Bucket=bucket, StartAfter=after, Delimiter=delimiter)
            names = [one["Key"] for one in page.get("Contents", [])]
            found.append((names, [one["Prefix"] for one in page.get("CommonPrefixes", [])]))
        assert found[0] == found[1], after
        if not delimiter:
            assert found[0][0] == [key for key in keys if key > after]


def test_the_older_list_pages_alike(s3: Any, model: dict[str, bytes]) -> None:
    found: list[str] = []
    marker = ""
    while True:
        page = s3.list_objects(Bucket=BUCKET, MaxKeys=3, Delimiter="/", Marker=marker)
        found += [one["Key"] for one in page.get("Contents", [])]
        found += [one["Prefix"] for one in page.get("CommonPrefixes", [])]
        if not page["IsTruncated"]:
            break
        marker = page["NextMarker"]
    assert found == expected(model, "", "/")


def test_every_file_can_be_read_whole_and_in_parts(s3: Any, model: dict[str, bytes]) -> None:
    for key, data in model.items():
        got = s3.get_object(Bucket=BUCKET, Key=key)
        assert got["Body"].read() == data, key
        head = s3.head_object(Bucket=BUCKET, Key=key)
        assert (head["ContentLength"], head["ETag"]) == (len(data), got["ETag"])
    key, data = next((key, data) for key, data in model.items() if key.endswith("x.sif"))
    for text, part in (("bytes=1-4", data[1:5]), ("bytes=-3", data[-3:]), ("bytes=10-", data[10:])):
        got = s3.get_object(Bucket=BUCKET, Key=key, Range=text)
        assert (got["Body"].read(), got["ResponseMetadata"]["HTTPStatusCode"]) == (part, 206)
    with pytest.raises(ClientError, match="InvalidRange"):
        s3.get_object(Bucket=BUCKET, Key=key, Range="bytes=5000-")


def test_types_are_those_of_the_manifest(s3: Any, model: dict[str, bytes]) -> None:
    for file, kind in (("manifest.json", MANIFEST), ("config.json", CONFIG), ("x.sif", GZIP), ("layer-2", GZIP)):
        assert s3.head_object(Bucket=BUCKET, Key=f"a/1/{file}")["ContentType"] == kind
    assert s3.head_object(Bucket=BUCKET, Key="a/index/manifest.json")["ContentType"] == INDEX
    assert model


@pytest.mark.parametrize(
    "key", ["a", "a/", "a/1", "a/1/", "a/1/none", "a/none/manifest.json", "none/1/manifest.json", "a/1/manifest.json/",
            "a/1//manifest.json", "a/1/layer-1", "a/1/layer-3", "a/index/config.json",
            "a/index/linux-arm/manifest.json",
            "a/1/../1/manifest.json", "A/1/manifest.json"],
)  # fmt: skip
def test_what_is_no_file_is_not_there(s3: Any, model: dict[str, bytes], key: str) -> None:
    assert key not in model
    for call in (s3.get_object, s3.head_object):
        with pytest.raises(ClientError) as failed:
            call(Bucket=BUCKET, Key=key)
        assert failed.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def test_nothing_can_be_changed(s3: Any, model: dict[str, bytes]) -> None:
    key = "a/1/x.sif"
    calls: list[Callable[[], Any]] = [
        lambda: s3.put_object(Bucket=BUCKET, Key=key, Body=b"x"),
        lambda: s3.put_object(Bucket=BUCKET, Key="new", Body=b""),
        lambda: s3.delete_object(Bucket=BUCKET, Key=key),
        lambda: s3.copy_object(Bucket=BUCKET, Key="new", CopySource=f"{BUCKET}/{key}"),
        lambda: s3.create_multipart_upload(Bucket=BUCKET, Key="new"),
        lambda: s3.put_object_tagging(Bucket=BUCKET, Key=key, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]}),
        lambda: s3.delete_bucket(Bucket=BUCKET), lambda: s3.create_bucket(Bucket=BUCKET),
        lambda: s3.put_bucket_acl(Bucket=BUCKET, ACL="public-read"),
        lambda: s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"}),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ClientError) as failed:
            call()
        status = failed.value.response["ResponseMetadata"]["HTTPStatusCode"]
        assert 400 <= status < 500, failed.value
    assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == model[key]
    assert listing(s3) == sorted(model)


def test_many_deleted_at_once_are_all_refused(s3: Any, model: dict[str, bytes]) -> None:
    with suppress(ClientError):  # all at once, or one by one
        answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "a/1/x.sif"}]})
        assert [one["Key"] for one in answer["Errors"]] == ["a/1/x.sif"]
        assert not answer.get("Deleted")
    assert s3.get_object(Bucket=BUCKET, Key="a/1/x.sif")["Body"].read() == model["a/1/x.sif"]


def test_a_layer_is_copied_into_a_bucket_and_costs_nothing(s3: Any, who: Client, model: dict[str, bytes]) -> None:
    bucket = f"b{new_name()}"
    who.server.call("PUT", f"/buckets/{bucket}", {}, token=who.token)
    before = sum(path.stat().st_size for path in (who.server.data / "blobs").glob("*/*"))
    s3.copy_object(Bucket=bucket, Key="x.sif", CopySource=f"{BUCKET}/a/1/x.sif")
    assert s3.get_object(Bucket=bucket, Key="x.sif")["Body"].read() == model["a/1/x.sif"]
    assert sum(path.stat().st_size for path in (who.server.data / "blobs").glob("*/*")) - before < 4096


# --- names of files --------------------------------------------------------------------------------------------------

UNSAFE: list[tuple[list[str | None], list[str]]] = [
    (["a.sif", "a.sif"], ["layer-1", "layer-2"]), (["x/a.sif", "y/a.sif"], ["layer-1", "layer-2"]),
    (["x/a.sif", "y/b.sif"], ["a.sif", "b.sif"]), (["", None], ["layer-1", "layer-2"]),
    ([".", ".."], ["layer-1", "layer-2"]),
    (["a/", "x/.."], ["layer-1", "layer-2"]), (["manifest.json", "config.json"], ["layer-1", "layer-2"]),
    (["layer-2", "b"], ["layer-1", "b"]), (["a\nb", "a\x7fb"], ["layer-1", "layer-2"]),
    (["ü &<>", "日本"], ["ü &<>", "日本"]),
    (["\u202egnp.exe", "a\u2028b"], ["layer-1", "layer-2"]), (["x" * 1100, "ok"], ["layer-1", "ok"]),
    (["ü" * 500, "ok"], ["layer-1", "ok"]),
]  # fmt: skip


@pytest.mark.parametrize(("titles", "names"), UNSAFE, ids=range(len(UNSAFE)))
def test_layers_are_called_by_their_titles_if_those_are_safe_and_unique(
    who: Client, s3: Any, titles: list[str | None], names: list[str]
) -> None:
    client = who.at(f"titles/{new_name()}")
    try:
        made, data = push_titled(client, "t", titles)
        files = files_of(client, "t", made, data, names)
        found = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{client.name}/").get("Contents", [])
        assert [one["Key"] for one in found] == sorted(files)
        for key, content in files.items():
            assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == content, key
    finally:
        for tag in client.tags():
            client.done("DELETE", f"manifests/{tag}", 202)


def test_images_of_an_index_without_names_of_their_own_are_called_by_digest(who: Client, s3: Any) -> None:
    client, data = who.at(f"index/{new_name()}"), DataSet()
    children = [data.image(tags=()) for _ in range(4)]
    same = {"os": "linux", "architecture": "amd64"}
    platforms: list[Any] = [same, same, {"os": "../x", "architecture": "a"}, {"architecture": "amd64"}]
    listed = [{**one.descriptor, "platform": platform} for one, platform in zip(children, platforms, strict=True)]
    push(client, data)
    client.put("t", json.dumps({"schemaVersion": 2, "manifests": listed}).encode(), INDEX)
    found = {one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{client.name}/")["Contents"]}
    assert {key.split("/")[3] for key in found} == {"manifest.json", *(one.digest[7:19] for one in children)}
    client.done("DELETE", "manifests/t", 202)


def test_a_tag_that_moves_moves_its_files_and_one_that_is_deleted_takes_them_along(who: Client, s3: Any) -> None:
    client = who.at(f"moves/{new_name()}")
    keys = []
    for title in ("one.sif", "two.sif"):
        push_titled(client, "t", [title])
        keys.append([one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{client.name}/")["Contents"]])
    folder = f"{client.name}/t/"
    assert keys == [
        [f"{folder}config.json", f"{folder}manifest.json", f"{folder}{title}.sif"] for title in ("one", "two")
    ]
    client.done("DELETE", "manifests/t", 202)
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{client.name}/")


# --- rights ----------------------------------------------------------------------------------------------------------


def test_everybody_sees_the_repositories_it_may_read(who: Client) -> None:
    server = who.server
    hidden, shown = who.at(f"rights/{new_name()}"), who.at(f"rights/{new_name()}")
    for one in (hidden, shown):
        push_titled(one, "t", ["a.sif"])
    publish(shown)
    server.call("POST", "/projects", {"name": (project := f"p{new_name()}")})
    stranger = who.by(new_user(server, project, "maintainer"))
    reader = who.by(new_user(server, "default", "reader"))
    for client, home, both in ((stranger, project, False), (reader, "default", True)):
        s3 = s3_of(client, home)
        found = {one["Key"].rpartition("/t/")[0] for one in
                 s3.list_objects_v2(Bucket=BUCKET, Prefix="rights/")["Contents"]}  # fmt: skip
        assert found == ({hidden.name, shown.name} if both else {shown.name})
        assert s3.get_object(Bucket=BUCKET, Key=f"{shown.name}/t/a.sif")["Body"].read()
        if not both:
            for call in (s3.get_object, s3.head_object):
                with pytest.raises(ClientError) as failed:
                    call(Bucket=BUCKET, Key=f"{hidden.name}/t/a.sif")
                assert failed.value.response["ResponseMetadata"]["HTTPStatusCode"] in (403, 404)
    for name, status in ((shown.name, (200, 401, 403)), (hidden.name, (401, 403, 404))):
        answer = ask(f"{server.url}/{BUCKET}/{name}/t/a.sif")
        assert answer.status in status
    for one in (hidden, shown):
        one.done("DELETE", "manifests/t", 202)


def test_the_md5_is_the_etag_once_it_is_known(server: RunningServer, who: Client) -> None:
    client = who.at(f"default/{new_name()}")
    content = new_sif()
    push_file(client.at(client.name.partition("/")[2]), content, title="a.sif")
    put_by_s3(client, "a.sif", content)
    s3 = s3_of(who)
    head = s3.head_object(Bucket=BUCKET, Key=f"{client.name.partition('/')[2]}/latest/a.sif")
    assert head["ETag"] == f'"{hashlib.md5(content).hexdigest()}"'
    client.at(client.name.partition("/")[2]).done("DELETE", "manifests/latest", 202)
