"""The same tree as objects of an S3 bucket that is served as it is: each key with its type, no links, no rule files."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from entrepot.client.flow import Flow, each, work
from entrepot.client.layout import blob_path
from entrepot.client.progress import Meter, Watcher
from entrepot.client.pull import Found, pull_file
from entrepot.client.static_plan import PlanFile, Tree
from entrepot.client.static_tree import Exported, general_files
from entrepot.errors import Denied, EntrepotError, NotFound, Unavailable, UsageError
from entrepot.model import NamedDigest

SCHEME: Final = "s3://"
_OURS: Final = ("v2/", "registry/")
_DELETED_AT_ONCE: Final = 1000
_DENIED: Final = ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken")
_INDEX: Final = "/index.html"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket, and what all our keys in it begin with. `client` is one of boto3, for many threads."""

    name: str
    prefix: str
    client: Any

    @classmethod
    def open(cls, place: str) -> "Bucket":
        """`s3://BUCKET[/PREFIX]`; endpoint and keys as the AWS tools find them. Raises: UsageError, without boto3."""
        name, _, prefix = place.removeprefix(SCHEME).partition("/")
        if not name:
            raise UsageError(f"not a bucket: {place!r}", advice="s3://BUCKET[/PREFIX]")
        try:
            import boto3
        except ImportError as error:
            raise UsageError("s3:// needs the package boto3", advice="pip install 'entrepot[s3]'") from error
        with bucket_errors(name):
            client = boto3.client("s3")
        return cls(name, f"{prefix.strip('/')}/" if prefix.strip("/") else "", client)

    def sizes(self) -> dict[str, int]:
        """What is in it of a tree: bytes by key."""
        found: dict[str, int] = {}
        with bucket_errors(self.name):
            pages = self.client.get_paginator("list_objects_v2")
            for top in _OURS:
                for page in pages.paginate(Bucket=self.name, Prefix=self.prefix + top):
                    found |= {one["Key"].removeprefix(self.prefix): one["Size"] for one in page.get("Contents", ())}
        return found

    def holds(self, key: str, kind: str, digest: NamedDigest) -> bool:
        """Whether an object we put there has these bytes and this type."""
        with bucket_errors(self.name):
            head = self.client.head_object(Bucket=self.name, Key=self.prefix + key)
        return bool(_facts(digest) == head.get("Metadata") and head.get("ContentType") == kind)

    def put_file(self, key: str, kind: str, digest: NamedDigest, path: str) -> None:
        """The file `path` as an object."""
        extra = {"ContentType": kind, "Metadata": _facts(digest)}
        with bucket_errors(self.name):
            self.client.upload_file(path, self.name, self.prefix + key, ExtraArgs=extra)

    def put_text(self, key: str, kind: str, digest: NamedDigest, content: bytes) -> None:
        """Some bytes as an object."""
        with bucket_errors(self.name):
            self.client.put_object(
                Bucket=self.name, Key=self.prefix + key, Body=content, ContentType=kind, Metadata=_facts(digest)
            )

    def remove(self, keys: Collection[str]) -> int:
        """How many there were."""
        whole = sorted(self.prefix + key for key in keys)
        with bucket_errors(self.name):
            for start in range(0, len(whole), _DELETED_AT_ONCE):
                objects = [{"Key": key} for key in whole[start : start + _DELETED_AT_ONCE]]
                done = self.client.delete_objects(Bucket=self.name, Delete={"Objects": objects, "Quiet": True})
                if done.get("Errors"):
                    raise _refused(self.name, str(done["Errors"][0].get("Code")))
        return len(whole)


@contextmanager
def bucket_errors(name: str) -> Iterator[None]:
    """What boto3 says of the bucket `name`, in our words."""
    import boto3.exceptions
    import botocore.exceptions as botocore

    try:
        yield
    except botocore.ClientError as error:
        raise _refused(name, str(error.response.get("Error", {}).get("Code"))) from error
    except (botocore.NoCredentialsError, botocore.PartialCredentialsError) as error:
        raise Denied("no keys for S3", advice="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from error
    except (botocore.HTTPClientError, botocore.ConnectionError) as error:
        raise Unavailable(f"no answer from S3 for bucket {name}", why=type(error).__name__) from error
    except (botocore.BotoCoreError, boto3.exceptions.Boto3Error, ValueError) as error:
        raise EntrepotError(f"S3 cannot be used for bucket {name}", why=str(error)) from error


def _refused(name: str, code: str) -> EntrepotError:
    if code in ("NoSuchBucket", "404"):
        return NotFound(f"no bucket {name}", why=code, advice="make it first")
    kind = Denied if code in _DENIED else EntrepotError
    return kind(f"S3 refused this for bucket {name}", why=code)


def _facts(digest: NamedDigest) -> dict[str, str]:
    return {digest.algorithm.value: digest.hex}


def keys_of(path: str) -> list[str]:
    """The keys under which a file is asked for. Pure: a bucket has no folders with an index."""
    if path == "v2/index.html":
        return [path, "v2/"]
    above = path.removesuffix(_INDEX)
    if path.endswith("/tags" + _INDEX) and path.startswith("registry/") and "/manifests/" not in path:
        return [path, above, above + "/"]
    if path.endswith(_INDEX) and above.rpartition("/")[0].endswith("/manifests"):
        return [path, above]
    return [path]


@dataclass(frozen=True, slots=True)
class _Wish:
    """An object that should be there."""

    key: str
    file: PlanFile
    digest: NamedDigest
    size: int


def _wishes(tree: Tree) -> list[_Wish]:
    """All of them, in the order in which they appear."""
    files = (*tree.files, *general_files(tree).values())
    return [_Wish(key, file, *_content(file)) for file in files for key in keys_of(file.path)]


def _content(file: PlanFile) -> tuple[NamedDigest, int]:
    if file.text is None:
        return file.named, file.size
    content = file.text.encode()
    return NamedDigest.parse(f"sha256:{hashlib.sha256(content).hexdigest()}"), len(content)


def missing_objects(tree: Tree, bucket: Bucket, there: Mapping[str, int], jobs: int) -> Flow[list[_Wish]]:
    """What is to be put."""
    lacking: list[_Wish] = []

    def ask(wish: _Wish) -> Flow[_Wish | None]:
        is_there = there.get(wish.key) == wish.size and (
            yield from work(lambda: bucket.holds(wish.key, wish.file.type, wish.digest))
        )
        return None if is_there else wish

    def take(wish: _Wish | None) -> None:
        if wish is not None:
            lacking.append(wish)

    yield from each(map(ask, _wishes(tree)), jobs, take)
    return lacking


def export_bucket(tree: Tree, bucket: Bucket, watcher: Watcher, jobs: int, *, delete: bool) -> Flow[Exported]:
    """The tree, in `bucket`. Raises: as `export_tree`, and what S3 refuses."""
    there = yield from work(bucket.sizes)
    lacking = yield from missing_objects(tree, bucket, there, jobs)
    wanted = {wish.digest: wish.size for wish in lacking if wish.file.text is None}
    meter = Meter(watcher, phase="download", total=sum(wanted.values()))
    with tempfile.TemporaryDirectory(prefix="entrepot-") as folder:
        for rank in range(4):
            here = [wish for wish in lacking if wish.file.rank == rank]
            yield from each(_puts(here, tree.blobs(), bucket, folder, meter), jobs, lambda _: None)
    keys = {wish.key for wish in _wishes(tree)}
    gone = there.keys() - keys
    removed = (yield from work(lambda: bucket.remove(gone))) if delete else 0
    received = sum(wanted.values())
    saved = sum(found.size for found in tree.blobs().values()) - received
    return Exported(len(tree.plans), len(keys), len(lacking), removed, received, saved)


def _puts(
    wishes: list[_Wish], blobs: Mapping[NamedDigest, Found], bucket: Bucket, folder: str, meter: Meter
) -> Iterator[Flow[None]]:
    """A flow for each text, and one for each digest with all keys that have it: it is fetched once."""
    by_digest: dict[NamedDigest, list[_Wish]] = {}
    for wish in wishes:
        if wish.file.text is not None:
            yield _put_text(wish, bucket)
        else:
            by_digest.setdefault(wish.digest, []).append(wish)
    for digest, same in by_digest.items():
        yield _put_bytes(blobs[digest], same, bucket, folder, meter)


def _put_text(wish: _Wish, bucket: Bucket) -> Flow[None]:
    content = (wish.file.text or "").encode()
    yield from work(lambda: bucket.put_text(wish.key, wish.file.type, wish.digest, content))


def _put_bytes(found: Found, wishes: list[_Wish], bucket: Bucket, folder: str, meter: Meter) -> Flow[None]:
    path = os.path.join(folder, blob_path(NamedDigest.parse(found.digest)).replace("/", "-"))
    yield from pull_file(found, path, meter)
    try:
        for wish in wishes:
            put: Callable[[], None] = _putting(bucket, wish, path)
            yield from work(put)
    finally:
        if not wishes[0].file.rank:  # a manifest is put again, for its tags
            os.unlink(path)


def _putting(bucket: Bucket, wish: _Wish, path: str) -> Callable[[], None]:
    return lambda: bucket.put_file(wish.key, wish.file.type, wish.digest, path)
