"""An unmodified PROMINENCE server keeps its data here: the calls its boto3 makes with a robot's keys, V2 and V4."""

import hashlib
import os
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config

from tests.running import RunningServer

BUCKET = "prominence-data"
META = "x-amz-meta-prominence_sha256"


@pytest.fixture(params=[None, "s3v4"], ids=["v2", "v4"])
def store(request: pytest.FixtureRequest, server: RunningServer) -> Any:
    """The job server's client: a robot that maintains project `default`; left alone it makes V2 URLs."""
    name = f"job-server-{os.urandom(3).hex()}"
    made = server.call("POST", "/robots", {"name": name, "project": "default", "role": "maintainer"})
    token = server.call("POST", "/login", {"user": made["name"], "password": made["secret"]})["token"]
    key = server.call("POST", "/keys", {"project": "default"}, token=token)
    client = boto3.client(
        "s3", endpoint_url=server.url, aws_access_key_id=key["access"], aws_secret_access_key=key["secret"],
        config=Config(signature_version=request.param, s3={"addressing_style": "path"}), region_name="us-east-1",
    )  # fmt: skip
    url = client.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "x"})
    assert ("X-Amz-Signature" in url) == (request.param == "s3v4")
    return client


def test_an_upload_by_a_form_the_job_server_made(store: Any) -> None:
    data, key = os.urandom(100_000), f"uploads/bob/{os.urandom(3).hex()} x.sif"
    digest = hashlib.sha256(data).hexdigest()
    form = store.generate_presigned_post(BUCKET, key, Fields={META: digest}, Conditions=[{META: digest}], ExpiresIn=600)
    wrong = requests.post(form["url"], data=form["fields"], files={"file": data[1:]}, timeout=30)
    assert wrong.status_code == 400
    answer = requests.post(form["url"], data=form["fields"], files={"file": data}, timeout=30)
    assert answer.status_code == 204
    head = store.head_object(Bucket=BUCKET, Key=key)
    assert (head["ContentLength"], head["Metadata"]["prominence_sha256"]) == (len(data), digest)
    url = store.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=600)
    assert requests.get(url, timeout=30).content == data
    assert requests.head(url, timeout=30).status_code == 200


def test_outputs_of_jobs_by_signed_urls_are_created_with_201(store: Any) -> None:
    key = f"scratch/{os.urandom(3).hex()}/out.tgz"
    url = store.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=600)
    assert requests.put(url, data=b"output", timeout=30).status_code == 201
    assert store.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"output"


def test_lists_and_deletes_below_a_users_folder(store: Any) -> None:
    folder = f"uploads/{os.urandom(3).hex()}/"
    keys = [f"{folder}{number}" for number in range(3)]
    for key in keys:
        url = store.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=600)
        assert requests.put(url, data=b"x", timeout=30).status_code == 201
    found = store.list_objects(Bucket=BUCKET, Prefix=folder)["Contents"]
    assert [one["Key"] for one in found] == keys
    store.delete_object(Bucket=BUCKET, Key=keys[0])
    assert [one["Key"] for one in store.list_objects_v2(Bucket=BUCKET, Prefix=folder)["Contents"]] == keys[1:]
